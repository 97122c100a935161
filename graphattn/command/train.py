"""`graphattn train`: data in, a trained and saved model with its figures out."""

import argparse
import ast
import sys
from dataclasses import fields, replace
from types import UnionType
from typing import Any, get_args, get_origin

import torch

from graphattn.command import data
from graphattn.command.device import check_device
from graphattn.command.failures import tell_failures
from graphattn.recipes import Recipe, Schedule, Trained, best_of
from graphattn.recipes.loading import RECIPES
from graphattn.recipes.of_network import OfNetwork

SUMMARY = "Train a model on your own data, or on a data set of PyG, and save it"
EXAMPLES = """
  graphattn train --csv reviews.csv --text review --label stars --save reviews.pt
  graphattn train --csv esol.csv --smiles smiles --target logS --save esol.pt
  graphattn train --wav-folder recordings --save sounds.pt            recordings/yes/1.wav, recordings/no/7.wav, ...
  graphattn train --image-folder photos --side 64 --patch 8        photos/cat/1.png, ...
  graphattn train --npz network.npz --split 60 20 20               arrays x, edge_index, y; its own masks without --split
  graphattn train --edges friends.csv --nodes people.csv --label likes --split 60 20 20 --undirected
  graphattn train --edges pipes.csv --nodes wells.csv --target level --split 60 20 20
  graphattn train --tu MUTAG
  graphattn train --pyg Planetoid --name Cora --normalize
  graphattn train --csv words.csv --text letters --target sounds        sequence to sequence
  graphattn train --text-file lines.txt --set unit=characters        a language model
  graphattn train --csv reviews.csv --text review --label stars --epochs 20 --set channels=64 --set dropout=0.2
  graphattn train --npz network.npz --save model.pt --minutes 10          and then the same with --resume
"""
OF_SCHEDULE = {each.name: each.type for each in fields(Schedule)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    data.add_arguments(parser)
    group = parser.add_argument_group("training")
    group.add_argument("--task", choices=RECIPES, help="another recipe than the one that fits the data")
    group.add_argument("--model", choices=("auto", "transformer", "gat"), default="auto",
                       help="of a network; auto trains both and takes the one that validation nodes like better")  # fmt: skip
    group.add_argument("--split", nargs="+", metavar="SHARE",
                       help="training, validation, test, such as 80 10 10; of a network with several splits, a number")  # fmt: skip
    group.add_argument("--seed", type=int, default=0)
    group.add_argument("--epochs", type=int)
    group.add_argument("--batch-size", type=int, metavar="EXAMPLES")
    group.add_argument("--lr", type=float, help="the highest learning rate")
    group.add_argument("--measure", help="what chooses the epoch: accuracy, roc_auc, macro_f1; rmse, mae, r2")
    group.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE",
                       help="any option of the recipe or its schedule: channels=64, weight_decay=0.1, ...")  # fmt: skip
    group.add_argument("--device", default="cpu")
    group.add_argument("--threads", type=int, help="of torch")
    out = parser.add_argument_group("results")
    out.add_argument(
        "--save", metavar="FILE", help="the trained model, for `graphattn predict` and graphattn.recipes.load"
    )
    out.add_argument("--resume", action="store_true", help="go on from what is unfinished beside --save")
    out.add_argument("--minutes", type=float, help="of training in this run; the rest by --resume")
    out.add_argument("--log", metavar="DIR", help="numbers of every epoch for TensorBoard")
    out.add_argument("--picture", metavar="FILE", help="the numbers of every epoch, drawn")


def run(args: argparse.Namespace) -> int:
    if args.threads:
        torch.set_num_threads(args.threads)
    check_device(args.device)
    loaded = data.load(args)
    tell_failures(loaded.failures, "is left out")
    recipes = recipes_of(args, args.task or loaded.task)
    options: dict[str, Any] = {"split": split_of(args.split), "seed": args.seed, "log": args.log, "device": args.device}
    options |= {"names": loaded.names, "progress": sys.stderr.isatty(), "save": args.save}
    print(f"{args.task or loaded.task}: {size_of(loaded.data)}")
    if loaded.names:
        print(f"classes: {counted(loaded.names, loaded.data)}")
    if len(recipes) > 1:
        trained, tried = best_of(recipes, loaded.data, **options)
        by = trained.recipe.choice(trained.facts).by
        for recipe, each in zip(recipes, tried, strict=True):
            figures = ", ".join(f"{name} {value:.4f}" for name, value in each.figures["validation"].items())
            print(f"model {recipe.model}: validation {figures}")  # type: ignore[attr-defined]
        print(f"taken: {trained.recipe.model}, by validation {by}")  # type: ignore[attr-defined]
    else:
        trained = recipes[0].train(loaded.data, resume=args.resume, minutes=args.minutes, **options)
    return tell(trained, loaded.source, args)


def tell(trained: Trained, source: dict[str, Any], args: argparse.Namespace) -> int:
    if not trained.is_finished:
        print(
            f"the {args.minutes:g} minutes are over after {len(trained.history)} epochs; the same with --resume goes on"
        )
        return 0
    print(trained)
    if args.save:
        trained.facts["source"] = source
        trained.save(args.save)
        print(f"saved: {args.save}; graphattn predict {args.save} ...")
    if args.picture:
        trained.draw(args.picture)
        print(f"picture: {args.picture}")
    return 0


def recipes_of(args: argparse.Namespace, task: str) -> list[Recipe]:
    """The recipe of the task with the options that are given; of a network, those that are tried."""
    cls = RECIPES[task]
    if issubclass(cls, OfNetwork):
        both = {"transformer": cls(), "gat": cls.gat()}
        is_auto = args.model == "auto" and not args.resume and args.minutes is None
        bases: list[Recipe] = (
            list(both.values()) if is_auto else [both["transformer" if args.model == "auto" else args.model]]
        )
    elif args.model != "auto":
        raise ValueError(f"--model is of networks (got {args.model!r} for {task}); leave it out")
    else:
        bases = [cls()]
    return [with_options(base, args) for base in bases]


def with_options(recipe: Recipe, args: argparse.Namespace) -> Recipe:
    given = dict(parse_option(word) for word in args.set)
    own = {name: getattr(args, name) for name in ("measure", "epochs", "batch_size", "lr")}
    given |= {name: value for name, value in own.items() if value is not None}
    known = {each.name: each.type for each in fields(recipe) if each.name != "schedule"}
    kinds = OF_SCHEDULE | known
    unknown = sorted(given.keys() - kinds.keys())
    if unknown:
        raise ValueError(f"--set knows {sorted(kinds)} (got {', '.join(unknown)})")
    for name, value in given.items():
        check_kind(name, value, kinds[name])
    schedule = {name: value for name, value in given.items() if name not in known}
    if "epochs" in schedule:
        recipe = recipe.scheduled(epochs=schedule["epochs"])  # so many, however few the steps
    options = {name: value for name, value in given.items() if name in known}
    return replace(recipe, schedule=replace(recipe.schedule, **schedule), **options)


def check_kind(name: str, value: Any, kind: Any) -> None:
    """Raises ValueError where a value is of another kind than the option; whole numbers are numbers.

    >>> check_kind('dropout', 1, float | None)
    >>> check_kind('dropout', 'much', float | None)
    Traceback (most recent call last):
    ValueError: option 'dropout' needs a value of kind float | None (got 'much')
    """
    allowed = [get_origin(each) or each for each in (get_args(kind) if isinstance(kind, UnionType) else (kind,))]
    allowed += [int] if float in allowed else []
    if type(value) not in allowed:
        raise ValueError(f"option {name!r} needs a value of kind {getattr(kind, '__name__', kind)} (got {value!r})")


def parse_option(word: str) -> tuple[str, Any]:
    """The name and the value of OPTION=VALUE.

    >>> parse_option('channels=64'), parse_option('band=None'), parse_option('score=gatv2')
    (('channels', 64), ('band', None), ('score', 'gatv2'))
    """
    name, sign, value = word.partition("=")
    if not sign or not name:
        raise ValueError(f"--set needs OPTION=VALUE (got {word!r})")
    try:
        return name.replace("-", "_"), ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name.replace("-", "_"), value


def split_of(words: list[str] | None) -> Any:
    """None, the number of a split, or three shares."""
    if words is None:
        return None
    try:
        return int(words[0]) if len(words) == 1 else [float(word) for word in words]
    except ValueError:
        raise ValueError(
            f"--split needs three shares such as 80 10 10, or the number of a split (got {words})"
        ) from None


SHOWN_CLASSES = 12


def counted(names: list[str], found: Any) -> str:
    """The number and name of each class, and how many examples or nodes it has."""
    y = torch.cat([each.y for each in found]) if isinstance(found, list) else found.y
    counts = torch.bincount(y[y >= 0], minlength=len(names)).tolist()
    classes = [f"{place} {name} ({count})" for place, (name, count) in enumerate(zip(names, counts, strict=True))]
    more = f" and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    return ", ".join(classes[:SHOWN_CLASSES]) + more


def size_of(found: Any) -> str:
    if isinstance(found, list):
        return f"{len(found):,} examples"
    return f"{found.num_nodes:,} nodes, {found.num_edges:,} edges"
