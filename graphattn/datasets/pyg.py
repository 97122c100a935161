"""Data sets of PyG, with the arguments, folders and numbers that they have there, whose files are checked.

They are those in the tables; `torch_geometric.datasets` has many more, unchecked.
"""

from collections.abc import Mapping

from torch_geometric import datasets

from graphattn.datasets.checked import Checked
from graphattn.datasets.download import download_archive

PLANETOID = {
    "cora": {
        "ind.cora.allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "ind.cora.ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "ind.cora.graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "ind.cora.test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
        "ind.cora.tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "ind.cora.ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "ind.cora.x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "ind.cora.y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    },
    "citeseer": {
        "ind.citeseer.allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "ind.citeseer.ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "ind.citeseer.graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "ind.citeseer.test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
        "ind.citeseer.tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "ind.citeseer.ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "ind.citeseer.x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "ind.citeseer.y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    },
}
HETEROPHILOUS = {
    "minesweeper": {
        "minesweeper.npz": "e664c8dacf1e8ac466c2c09ed4b237bd2c5541f47a6eae9c6092cb87f16412b3",
    },
    "tolokers": {
        "tolokers.npz": "dacf3ac94cec53d03cd2adb5255c08b33dee1656c33ca8164a464bd9450a1667",
    },
}
TU = {
    "MUTAG": {
        "MUTAG_A.txt": "d9656ca7493f3445d737c711710bb36fd432dddd1c0ea32e1d4713c86ebd28e2",
        "MUTAG_edge_labels.txt": "4669ce755075ff86c3240709345745886400908fa637a49310459b9c267b3e56",
        "MUTAG_graph_indicator.txt": "7d520a4d6c7961c0cdeabe076d8fe27e795b6d373485c9a2b744987e560a2056",
        "MUTAG_graph_labels.txt": "a1518ea39ba3426bd42f57396b9c4baffe68e9adc718caeeab0119c6591a5f2c",
        "MUTAG_node_labels.txt": "678f429965490e84dd27713017538c995fc05d1621beac910848b600015ee863",
    },
    "PROTEINS": {
        "PROTEINS_A.txt": "4c4b33e272fc95cac6d27ed6d5d12b9a852c8610e91fff59f8f0dbdd5a20df67",
        "PROTEINS_graph_indicator.txt": "8d4ff1e852a5c28561e9bffb44cf9490bc552b13a3b6156dd12dc7f44e9afc4a",
        "PROTEINS_graph_labels.txt": "c0ef9810c440775252872318d0c8adc385588e14bc4c47a2c34aa96ee3c7cdcd",
        "PROTEINS_node_attributes.txt": "54eef829abb37e458a5fbf3a3c581e48e5810e220463c2cd951856b9ceb08f07",
        "PROTEINS_node_labels.txt": "f758e8ad3d6e3c026b50833d75f6f90735b94eb3345e4243707f495ca8afea8d",
    },
    "ENZYMES": {
        "ENZYMES_A.txt": "5553c84f8f562f3e199dfd27192174f485e85c44c1357661098668937a739cbf",
        "ENZYMES_graph_indicator.txt": "95ba0fa47eba6f02e6b754a215dc66d5b49de3f45f57a128514301a8d7ed5f46",
        "ENZYMES_graph_labels.txt": "04743e08967e61e65cdacbb90f8df6ee53742b3d2e7b84675b85ebac70506856",
        "ENZYMES_node_attributes.txt": "305a8fc3b12f79fb844ef3374d6a3c8ceeb4887dd4f86bbfe37932c4c5434e7b",
        "ENZYMES_node_labels.txt": "8263eb9b64efa231a5886343483ccfc0342f2407014763a8f738fd51c32ce770",
    },
    "IMDB-BINARY": {
        "IMDB-BINARY_A.txt": "23c8964bab82f81469271186d721131714a265d0ca8c44ae048118da1d0c4092",
        "IMDB-BINARY_graph_indicator.txt": "415cc3ba25b8c647dcf34d3de034f675ee070616f3b803be939cb26773489f26",
        "IMDB-BINARY_graph_labels.txt": "63a44411fd6342b9c4429828c16e144a2a11ef5244e25bb60f0ffa8b3ee2ffce",
    },
}
# The header of SAMPL.csv begins with "ipac" or with "iupac".
MOLECULE_NET = {
    "esol": {
        "delaney-processed.csv": "8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189",
    },
    "freesolv": {
        "SAMPL.csv": "36a36f3bc7b74d7fce11065a0aa44b08c6efaed256267726ea6e47acf6142a44"
        " ab5895d914ee87cb563bd7b9611e869527bba45bec6b014d34dc495a0f9dcb72",
    },
}


def known_sums(table: Mapping[str, Mapping[str, str]], name: str) -> Mapping[str, str]:
    """The sha256 of each raw file of a data set. Raises ValueError where none is known."""
    if name not in table:
        raise ValueError(
            f"the sha256 of files are known of {', '.join(table)} (got {name!r}); take the class of torch_geometric.datasets,"
            " which checks none"
        )
    return table[name]


class Planetoid(Checked, datasets.Planetoid):
    """Citation networks: `torch_geometric.datasets.Planetoid`, its files checked before they are unpickled."""

    @property
    def sums(self) -> Mapping[str, str]:
        name = self.name.lower()
        return known_sums(PLANETOID, f"{name}, split {self.split}" if self.split == "geom-gcn" else name)

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"


class HeterophilousGraphDataset(Checked, datasets.HeterophilousGraphDataset):
    """Networks whose neighbours differ: `torch_geometric.datasets.HeterophilousGraphDataset`, its files checked."""

    @property
    def sums(self) -> Mapping[str, str]:
        return known_sums(HETEROPHILOUS, self.name)

    def url_of(self, name: str) -> str:
        return f"{self.url}/{name}"


class TUDataset(Checked, datasets.TUDataset):
    """Graphs to classify: `torch_geometric.datasets.TUDataset`, all of its files there and checked."""

    @property
    def sums(self) -> Mapping[str, str]:
        return known_sums(TU, f"{self.name}, cleaned" if self.cleaned else self.name)

    @property
    def raw_file_names(self) -> list[str]:
        return list(self.sums)

    def url_of(self, name: str) -> str:
        return f"{self.url}/{self.name}.zip"

    def download(self) -> None:
        download_archive(self.url_of(self.name), self.raw_dir, self.sums)


class MoleculeNet(Checked, datasets.MoleculeNet):
    """Molecules and what was measured of them: `torch_geometric.datasets.MoleculeNet`, its files checked. Needs RDKit."""

    @property
    def sums(self) -> Mapping[str, str]:
        return known_sums(MOLECULE_NET, self.name)

    def url_of(self, name: str) -> str:
        return self.url.format(name)
