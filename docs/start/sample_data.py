"""Small data to try the scripts of this page on, made up where it is run: python sample_data.py [folder]"""

import csv
import sys
import wave
from pathlib import Path

import networkx
import numpy as np

from graphattn.datasets import Digits, ToyMolecules, ToySentences, ToySounds


def write_table(path, names, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *rows])


def write_wav(path, samples, rate):
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes((np.asarray(samples).clip(-1, 1) * 32767).astype("<i2").tobytes())


def write_images(folder):
    from PIL import Image

    for number, data in enumerate(Digits("train")):
        path = folder / str(int(data.y)) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * data.x.view(8, 8).numpy()).astype(np.uint8)).save(path)


def main(folder="."):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    club = networkx.karate_club_graph()
    write_table(folder / "edges.csv", ["source", "target"], club.edges())
    sides = [[node, int(club.nodes[node]["club"] == "Officer"), int(node in (0, 33))] for node in club]
    write_table(folder / "nodes.csv", ["node", "label", "known"], sides)
    reviews = [[" ".join(data.tokens), ToySentences.classes[int(data.y)]] for data in ToySentences()]
    write_table(folder / "reviews.csv", ["text", "label"], reviews)
    for number, data in enumerate(ToySounds(keep_waveform=True)):
        write_wav(folder / "recordings" / ToySounds.classes[int(data.y)] / f"{number}.wav", data.waveform, 8000)
    write_images(folder / "images")
    write_table(folder / "molecules.csv", ["smiles", "target"], [[data.smiles, int(data.y)] for data in ToyMolecules()])


if __name__ == "__main__":
    main(*sys.argv[1:])
