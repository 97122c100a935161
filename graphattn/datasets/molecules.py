"""ToyMolecules: which well-known small molecules have a carboxyl group?"""

from collections.abc import Callable

import torch
from torch_geometric.data import Data, InMemoryDataset

from graphattn.inputs import from_smiles
from graphattn.inputs.molecule import import_rdkit, parse_smiles

CARBOXYL = "[#6X3](=[OX1])[#8X2]"  # one carbon with =O and -O-: acids and esters, lactones and carbonates too

MOLECULES = """
formic acid             OC=O
ethanol                 CCO
acetic acid             CC(=O)O
glycerol                OCC(O)CO
propionic acid          CCC(=O)O
ethylene glycol         OCCO
butyric acid            CCCC(=O)O
hydroxyacetone          CC(=O)CO
isobutyric acid         CC(C)C(=O)O
acetone                 CC(C)=O
valeric acid            CCCCC(=O)O
diacetyl                CC(=O)C(C)=O
isovaleric acid         CC(C)CC(=O)O
acetylacetone           CC(=O)CC(C)=O
caproic acid            CCCCCC(=O)O
diacetone alcohol       CC(=O)CC(C)(C)O
caprylic acid           CCCCCCCC(=O)O
glycolaldehyde          OCC=O
capric acid             CCCCCCCCCC(=O)O
glyceraldehyde          OCC(O)C=O
lauric acid             CCCCCCCCCCCC(=O)O
dihydroxyacetone        OCC(=O)CO
oxalic acid             OC(=O)C(=O)O
glyoxal                 O=CC=O
malonic acid            OC(=O)CC(=O)O
methylglyoxal           CC(=O)C=O
succinic acid           OC(=O)CCC(=O)O
glutaraldehyde          O=CCCCC=O
glutaric acid           OC(=O)CCCC(=O)O
acetoin                 CC(O)C(C)=O
adipic acid             OC(=O)CCCCC(=O)O
erythritol              OCC(O)C(O)CO
fumaric acid            OC(=O)C=CC(=O)O
xylitol                 OCC(O)C(O)C(O)CO
lactic acid             CC(O)C(=O)O
sorbitol                OCC(O)C(O)C(O)C(O)CO
glycolic acid           OCC(=O)O
glucose                 OCC1OC(O)C(O)C(O)C1O
pyruvic acid            CC(=O)C(=O)O
fructose                OCC1(O)OCC(O)C(O)C1O
levulinic acid          CC(=O)CCC(=O)O
ribose                  OCC1OC(O)C(O)C1O
malic acid              OC(CC(=O)O)C(=O)O
inositol                OC1C(O)C(O)C(O)C(O)C1O
tartaric acid           OC(C(O)C(=O)O)C(=O)O
diethyl ether           CCOCC
citric acid             OC(=O)CC(O)(CC(=O)O)C(=O)O
1,4-dioxane             C1COCCO1
acrylic acid            C=CC(=O)O
dimethoxyethane         COCCOC
methacrylic acid        CC(=C)C(=O)O
diglyme                 COCCOCCOC
sorbic acid             CC=CC=CC(=O)O
methoxyacetone          COCC(C)=O
benzoic acid            OC(=O)c1ccccc1
vanillin                COc1cc(C=O)ccc1O
salicylic acid          OC(=O)c1ccccc1O
salicylaldehyde         O=Cc1ccccc1O
phthalic acid           OC(=O)c1ccccc1C(=O)O
hydroxyacetophenone     CC(=O)c1ccccc1O
phenylacetic acid       OC(=O)Cc1ccccc1
anisaldehyde            COc1ccc(C=O)cc1
cinnamic acid           OC(=O)C=Cc1ccccc1
piperonal               O=Cc1ccc2OCOc2c1
caffeic acid            OC(=O)C=Cc1ccc(O)c(O)c1
eugenol                 COc1cc(CC=C)ccc1O
ferulic acid            COc1cc(C=CC(=O)O)ccc1O
guaiacol                COc1ccccc1O
gallic acid             OC(=O)c1cc(O)c(O)c(O)c1
hydroquinone            Oc1ccc(O)cc1
vanillic acid           COc1cc(C(=O)O)ccc1O
resorcinol              Oc1cccc(O)c1
mandelic acid           OC(C(=O)O)c1ccccc1
catechol                Oc1ccccc1O
ibuprofen               CC(C)Cc1ccc(cc1)C(C)C(=O)O
safrole                 C=CCc1ccc2OCOc2c1
naproxen                COc1ccc2cc(ccc2c1)C(C)C(=O)O
resveratrol             Oc1ccc(C=Cc2cc(O)cc(O)c2)cc1
aspirin                 CC(=O)Oc1ccccc1C(=O)O
benzoquinone            O=C1C=CC(=O)C=C1
methyl salicylate       COC(=O)c1ccccc1O
menadione               CC1=CC(=O)c2ccccc2C1=O
methyl formate          COC=O
ethyl vinyl ether       CCOC=C
methyl acetate          COC(C)=O
dimethoxymethane        COCOC
ethyl acetate           CCOC(C)=O
diethoxymethane         CCOCOCC
vinyl acetate           CC(=O)OC=C
furfural                O=Cc1ccco1
isoamyl acetate         CC(C)CCOC(C)=O
furfuryl alcohol        OCc1ccco1
ethyl butyrate          CCCC(=O)OCC
maltol                  Cc1occc(=O)c1O
methyl butyrate         CCCC(=O)OC
kojic acid              OCc1cc(=O)c(O)co1
benzyl acetate          CC(=O)OCc1ccccc1
benzoin                 OC(C(=O)c1ccccc1)c1ccccc1
linalyl acetate         CC(=O)OC(C)(CCC=C(C)C)C=C
linalool                CC(C)=CCCC(C)(O)C=C
methyl methacrylate     COC(=O)C(C)=C
hydroxycitronellal      CC(CCCC(C)(C)O)CC=O
ethyl lactate           CCOC(=O)C(C)O
citral                  CC(C)=CCCC(C)=CC=O
diethyl malonate        CCOC(=O)CC(=O)OCC
1,3-cyclohexanedione    O=C1CCCC(=O)C1
ethyl acetoacetate      CCOC(=O)CC(C)=O
dimedone                CC1(C)CC(=O)CC(=O)C1
triacetin               CC(=O)OCC(COC(C)=O)OC(C)=O
solketal                CC1(C)OCC(CO)O1
methyl benzoate         COC(=O)c1ccccc1
benzil                  O=C(C(=O)c1ccccc1)c1ccccc1
dimethyl phthalate      COC(=O)c1ccccc1C(=O)OC
phthalaldehyde          O=Cc1ccccc1C=O
benzocaine              CCOC(=O)c1ccc(N)cc1
paracetamol             CC(=O)Nc1ccc(O)cc1
procaine                CCN(CC)CCOC(=O)c1ccc(N)cc1
lidocaine               CCN(CC)CC(=O)Nc1c(C)cccc1C
methylparaben           COC(=O)c1ccc(O)cc1
phenacetin              CCOc1ccc(NC(C)=O)cc1
gamma-butyrolactone     O=C1CCCO1
tetrahydrofurfuryl alcohol  OCC1CCCO1
caprolactone            O=C1CCCCCO1
caprolactam             O=C1CCCCCN1
coumarin                O=c1ccc2ccccc2o1
chromone                O=c1ccoc2ccccc12
ascorbic acid           OCC(O)C1OC(=O)C(O)=C1O
flavone                 O=c1cc(oc2ccccc12)-c1ccccc1
glycine                 NCC(=O)O
acetamide               CC(N)=O
alanine                 CC(N)C(=O)O
lactamide               CC(O)C(N)=O
valine                  CC(C)C(N)C(=O)O
urea                    NC(N)=O
leucine                 CC(C)CC(N)C(=O)O
N-methylacetamide       CNC(C)=O
serine                  NC(CO)C(=O)O
dimethylformamide       CN(C)C=O
threonine               CC(O)C(N)C(=O)O
malonamide              NC(=O)CC(N)=O
cysteine                NC(CS)C(=O)O
thiourea                NC(N)=S
methionine              CSCCC(N)C(=O)O
taurine                 NCCS(=O)(=O)O
aspartic acid           NC(CC(=O)O)C(=O)O
oxamide                 NC(=O)C(N)=O
asparagine              NC(CC(N)=O)C(=O)O
nicotinamide            NC(=O)c1cccnc1
glutamic acid           NC(CCC(=O)O)C(=O)O
hydantoin               O=C1CNC(=O)N1
glutamine               NC(CCC(N)=O)C(=O)O
succinimide             O=C1CCC(=O)N1
lysine                  NCCCCC(N)C(=O)O
morpholine              C1COCCN1
proline                 OC(=O)C1CCCN1
2-pyrrolidone           O=C1CCCN1
phenylalanine           NC(Cc1ccccc1)C(=O)O
dopamine                NCCc1ccc(O)c(O)c1
tyrosine                NC(Cc1ccc(O)cc1)C(=O)O
adrenaline              CNCC(O)c1ccc(O)c(O)c1
tryptophan              NC(Cc1c[nH]c2ccccc12)C(=O)O
serotonin               NCCc1c[nH]c2ccc(O)cc12
histidine               NC(Cc1c[nH]cn1)C(=O)O
thymine                 Cc1c[nH]c(=O)[nH]c1=O
nicotinic acid          OC(=O)c1cccnc1
uracil                  O=c1cc[nH]c(=O)[nH]1
4-aminobenzoic acid     Nc1ccc(cc1)C(=O)O
caffeine                Cn1cnc2c1c(=O)n(C)c(=O)n2C
anthranilic acid        Nc1ccccc1C(=O)O
theobromine             Cn1cnc2c1c(=O)[nH]c(=O)n2C
hippuric acid           OC(=O)CNC(=O)c1ccccc1
barbituric acid         O=C1CC(=O)NC(=O)N1
gamma-aminobutyric acid  NCCCC(=O)O
nitrobenzene            O=[N+]([O-])c1ccccc1
creatine                CN(CC(=O)O)C(=N)N
picric acid             Oc1c(cc(cc1[N+](=O)[O-])[N+](=O)[O-])[N+](=O)[O-]
dimethyl carbonate      COC(=O)OC
nitromethane            C[N+](=O)[O-]
ethylene carbonate      O=C1OCCO1
dimethyl sulfone        CS(C)(=O)=O
urethane                CCOC(N)=O
methanesulfonic acid    CS(=O)(=O)O
chloroacetic acid       OC(=O)CCl
chloral hydrate         OC(O)C(Cl)(Cl)Cl
trifluoroacetic acid    OC(=O)C(F)(F)F
hexafluoroacetone       FC(F)(F)C(=O)C(F)(F)F
2,4-D                   OC(=O)COc1ccc(Cl)cc1Cl
triclosan               Oc1cc(Cl)ccc1Oc1ccc(Cl)cc1Cl
"""


def molecule_table() -> list[tuple[str, str]]:
    """(name, SMILES) of every molecule."""
    pairs = (line.rsplit(maxsplit=1) for line in MOLECULES.strip().splitlines())
    return [(name, smiles) for name, smiles in pairs]


def has_carboxyl(smiles: str) -> bool:
    """Whether a carbon of the molecule is bound to =O and to -O-.

    >>> has_carboxyl('CC(=O)O'), has_carboxyl('CC(=O)CO')  # acetic acid, hydroxyacetone
    (True, False)
    """
    pattern = import_rdkit().Chem.MolFromSmarts(CARBOXYL)
    return parse_smiles(smiles).HasSubstructMatch(pattern)


class ToyMolecules(InMemoryDataset):
    """188 well-known small molecules: which have a carboxyl group, as acids and esters do?

    Those without one are made of the same elements (alcohols, ketones, ethers, amides): what counts is that one carbon
    has both =O and -O-.

    | attribute  | meaning
    |------------|--------
    | x          | [N, 13] element, one-hot (graphattn.inputs.from_smiles; other blocks by `features`); no hydrogens
    | edge_index | [2, E] bonds, both directions
    | edge_attr  | [E, 7] type of the bond, conjugated, in a ring
    | graph      | EdgeListGraph(edge_index)
    | name       | str
    | smiles     | str
    | y          | [1] int64: 1 with, 0 without carboxyl group, found by the SMARTS pattern CARBOXYL; half each

    | split   | molecules | in the table of the source file
    |---------|-----------|--------------------------------
    | 'train' | 126       | lines 1, 2, 3, 4, 7, 8, 9, 10, ...
    | 'test'  | 62        | lines 5, 6, 11, 12, ...

    Source: written down for graphattn, common knowledge of chemistry; stereochemistry left out. Needs RDKit.

    >>> dataset = ToyMolecules('train')
    >>> len(dataset), dataset[0].name, dataset[0].y.item()
    (126, 'formic acid', 1)
    """

    classes = ("without", "with carboxyl group")

    def __init__(
        self,
        split: str = "train",
        features: tuple[str, ...] = ("element",),
        transform: Callable[[Data], Data] | None = None,
    ):
        super().__init__(transform=transform)
        if split not in ("train", "test"):
            raise ValueError(f"'split' needs to be 'train' or 'test' (got {split!r})")
        chosen = [pair for line, pair in enumerate(molecule_table()) if (line % 6 in (4, 5)) == (split == "test")]
        self.data, self.slices = self.collate([to_data(*pair, features) for pair in chosen])


def to_data(name: str, smiles: str, features: tuple[str, ...]) -> Data:
    data = from_smiles(smiles, features=features)
    data.name, data.y = name, torch.tensor([int(has_carboxyl(smiles))])
    return data
