"""Raw inputs as graphs: each function returns a torch_geometric Data with x, pos and graph."""

from graphattn.inputs.audio import from_wav, from_waveform
from graphattn.inputs.image import from_image
from graphattn.inputs.molecule import from_smiles
from graphattn.inputs.network import from_network
from graphattn.inputs.text import Vocabulary, from_text

__all__ = ["Vocabulary", "from_image", "from_network", "from_smiles", "from_text", "from_wav", "from_waveform"]
