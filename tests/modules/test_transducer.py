"""Prediction and joint network against their equations, one token and one pair at a time."""

import pytest
import torch

from slam_plugin.modules.transducer import JointNetwork, PredictionNetwork

SYMBOLS, PAD, DIM = 7, 1, 6


def prediction_network(layers=2, dropout=0.0):
    torch.manual_seed(0)
    return PredictionNetwork(SYMBOLS, PAD, DIM, layers, dropout).double()


def lstm(network, tokens):
    """Return the outputs (L, dim) of one sentence, gate by gate."""
    weights = dict(network.lstm.named_parameters())
    inputs = [network.embedding.weight[token] for token in tokens]
    for layer in range(network.lstm.num_layers):
        hidden = cell = torch.zeros(DIM, dtype=torch.float64)
        outputs = []
        for x in inputs:
            gates = weights[f"weight_ih_l{layer}"] @ x + weights[f"bias_ih_l{layer}"]
            gates = gates + weights[f"weight_hh_l{layer}"] @ hidden + weights[f"bias_hh_l{layer}"]
            take, forget, new, give = gates.chunk(4)
            cell = forget.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = give.sigmoid() * cell.tanh()
            outputs.append(hidden)
        inputs = outputs
    return torch.stack(inputs)


@pytest.mark.parametrize("layers", [1, 2])
def test_predictions_are_the_lstms_whole_and_token_by_token(layers):
    network = prediction_network(layers)
    tokens = torch.tensor([[2, 4, 4, 6, 5], [2, 5, 3, PAD, PAD]])
    whole, _ = network(tokens)
    assert torch.allclose(whole[0], lstm(network, [2, 4, 4, 6, 5]))
    assert torch.allclose(whole[1, :3], lstm(network, [2, 5, 3]))
    state = None
    for i in range(tokens.size(1)):
        step, state = network(tokens[:, i : i + 1], state)
        assert torch.allclose(step[:, 0], whole[:, i])
    assert [part.shape for part in state] == [(layers, 2, DIM)] * 2


def test_dropout_is_of_training_alone():
    network, tokens = prediction_network(dropout=0.5), torch.tensor([[2, 4, 4, 6, 5]])
    assert not torch.equal(network(tokens)[0], network(tokens)[0])
    assert torch.allclose(network.eval()(tokens)[0][0], lstm(network, tokens[0]))


def test_joint_is_tanh_of_the_sum_of_both_sides():
    torch.manual_seed(0)
    joint = JointNetwork(5, 4, 3, SYMBOLS).double()
    states, predictions = torch.randn(2, 3, 5).double(), torch.randn(2, 4, 4).double()
    logits = joint(joint.from_encoder(states)[:, :, None], joint.from_prediction(predictions)[:, None])
    assert logits.shape == (2, 3, 4, SYMBOLS)
    for b, t, u in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(4)).tolist():
        inner = joint.from_encoder.weight @ states[b, t] + joint.from_encoder.bias
        inner = (inner + joint.from_prediction.weight @ predictions[b, u]).tanh()
        assert torch.allclose(logits[b, t, u], joint.output.weight @ inner + joint.output.bias)
