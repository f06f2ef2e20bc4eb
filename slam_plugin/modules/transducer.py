"""The two networks that turn an encoder into a transducer (Graves 2012, *Sequence Transduction with RNNs*)."""

from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # hidden state and cell of an LSTM, each (layers, batch, dim)


class PredictionNetwork(nn.Module):
    """Embedding and LSTM over the symbols emitted so far (Graves 2012, section 2.1).

    Args:
        padding_idx: symbol whose embedding stays zero.
        dim: size of the embedding and of each layer's state.
        dropout: dropout of the embedding, and between layers.
    """

    def __init__(self, symbols: int, padding_idx: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, dim, padding_idx)
        self.dropout = nn.Dropout(dropout)
        # nn.LSTM warns of dropout with a single layer.
        self.lstm = nn.LSTM(dim, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return (batch, L, dim) of tokens (batch, L), and the state after the last one, for the next call.

        Search passes one token at a time. The LSTM is causal: padding at the end changes no output before it.
        """
        return self.lstm(self.dropout(self.embedding(tokens)), state)


class JointNetwork(nn.Module):
    """Logits of the next symbol from an encoder's state and a prediction network's (Graves et al. 2013, section 3.2).

    Each has its own layer to ``dim``, which search applies once per state, not once per pair. The joint network takes
    their sum.
    """

    def __init__(self, encoder_dim: int, prediction_dim: int, dim: int, symbols: int) -> None:
        super().__init__()
        self.from_encoder = nn.Linear(encoder_dim, dim)
        self.from_prediction = nn.Linear(prediction_dim, dim, bias=False)  # the other side has one
        self.output = nn.Linear(dim, symbols)

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """Return logits (..., symbols) of ``from_encoder`` (..., dim) and ``from_prediction`` (..., dim), broadcast."""
        return self.output((encoded + predicted).tanh())
