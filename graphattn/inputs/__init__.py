"""Raw inputs as graphs: each function of one input returns a torch_geometric Data with x, pos and graph."""

from graphattn.graphs.padded import from_padded, to_padded
from graphattn.inputs.audio import from_audio, from_wav, from_waveform
from graphattn.inputs.conversion import Failure, Graphs, to_graphs
from graphattn.inputs.image import from_image
from graphattn.inputs.molecule import from_smiles
from graphattn.inputs.network import from_network
from graphattn.inputs.text import Vocabulary, from_text

__all__ = [
    "Failure",
    "Graphs",
    "Vocabulary",
    "from_audio",
    "from_image",
    "from_network",
    "from_padded",
    "from_smiles",
    "from_text",
    "from_wav",
    "from_waveform",
    "to_graphs",
    "to_padded",
]
