"""Data sets that PyG has no loader for, small ones that need no download, some of PyG's whose files are checked, and your own
files: `from_csv`, `from_folder` and `from_tables`."""

from graphattn.datasets.cmudict import CMUDict
from graphattn.datasets.csv_file import from_csv
from graphattn.datasets.digits import Digits
from graphattn.datasets.folder import from_folder
from graphattn.datasets.mnist import MNIST
from graphattn.datasets.molecules import ToyMolecules
from graphattn.datasets.pyg import HeterophilousGraphDataset, MoleculeNet, Planetoid, TUDataset
from graphattn.datasets.sentences import ToySentences
from graphattn.datasets.sounds import ToySounds
from graphattn.datasets.spoken_digits import SpokenDigits
from graphattn.datasets.sst2 import SST2
from graphattn.datasets.tables import Tables, from_tables
from graphattn.datasets.ud_ewt import UDEnglishEWT

__all__ = [
    "MNIST",
    "SST2",
    "CMUDict",
    "Digits",
    "HeterophilousGraphDataset",
    "MoleculeNet",
    "Planetoid",
    "SpokenDigits",
    "TUDataset",
    "Tables",
    "ToyMolecules",
    "ToySentences",
    "ToySounds",
    "UDEnglishEWT",
    "from_csv",
    "from_folder",
    "from_tables",
]
