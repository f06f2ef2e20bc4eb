"""The two networks that make a transducer of an encoder (Graves 2012, *Sequence Transduction with RNNs*)."""

from torch import Tensor, nn

State = tuple[Tensor, Tensor]  # what an LSTM holds: hidden and cell, each (layers, batch, dim)


class PredictionNetwork(nn.Module):
    """Reads the symbols written so far: an embedding and an LSTM over it (Graves 2012, section 2.1).

    Args:
        padding_idx: symbol whose embedding is zero and stays so.
        dim: of the embedding and of each layer's state.
        dropout: of the embedding, and between layers.
    """

    def __init__(self, symbols: int, padding_idx: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, dim, padding_idx)
        self.dropout = nn.Dropout(dropout)
        # nn.LSTM warns of dropout where there is nothing between its layers.
        self.lstm = nn.LSTM(dim, dim, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """(batch, L) -> (batch, L, dim), and the state behind the last of them, from which the next call goes on.

        Search gives one token at a time. Nothing looks ahead: padding at the end changes no output before it.
        """
        return self.lstm(self.dropout(self.embedding(tokens)), state)


class JointNetwork(nn.Module):
    """Logits of the next symbol from an encoder's state and a prediction network's (Graves et al. 2013, section 3.2).

    Both are brought to ``dim`` by a layer of their own, which search applies once a state and not once a pair; the
    joint network proper takes their sum.
    """

    def __init__(self, encoder_dim: int, prediction_dim: int, dim: int, symbols: int) -> None:
        super().__init__()
        self.from_encoder = nn.Linear(encoder_dim, dim)
        self.from_prediction = nn.Linear(prediction_dim, dim, bias=False)  # the other side has one
        self.output = nn.Linear(dim, symbols)

    def forward(self, encoded: Tensor, predicted: Tensor) -> Tensor:
        """(..., dim) of ``from_encoder`` and (..., dim) of ``from_prediction``, broadcast -> (..., symbols)"""
        return self.output((encoded + predicted).tanh())
