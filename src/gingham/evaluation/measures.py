"""Measures by name, and their values for each query of a run, as trec_eval computes them.

The formulas are those of ir-measures (MacAvaney, Macdonald & Ounis, ECIR 2022), which for most of
them runs trec_eval's C code. What the providers of ir-measures differ in is settled here: they
break ties in different ways, so each is given ranks instead of scores; they parse ids, so each is
given numbers instead of ids; and measures whose parameters they would mix up are computed apart.
This knows nothing of files or of statistics.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gingham.errors import InputError, MissingDependencyError
from gingham.evaluation.dataset import LARGEST_GRADE, Qrels
from gingham.evaluation.numbered_lines import quoted
from gingham.evaluation.run import Ranking, Run
from gingham.evaluation.run_files import trec_order

if TYPE_CHECKING:
    from ir_measures import Measure

Float64 = npt.NDArray[np.float64]

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@50", "R@100", "R@1000", "AP", "Success@5")

_TRY = "try nDCG@10, RR@10, R@100, AP, P@5, Success@5 or AP(rel=2)"
# Queries that are converted at a time: a thousand documents each, this is some 20 MB.
_BATCH = 256
# What trec_eval does outside of these is to abort, to wrap around, or to take gigabytes.
_LIMITS = {
    "cutoff": (1, 1_000_000),
    "rel": (1, LARGEST_GRADE),
    "recall": (0, 1),
    "beta": (0.001, 1000),
}
# They count judgements, those of a query that the run misses too (trec_eval's m_num_rel.c).
_COUNT_JUDGEMENTS = frozenset({"NumQ", "NumRel"})
_OF_TREC_EVAL = {
    r"map": "AP",
    r"map_cut_(\d+)": r"AP@\1",
    r"ndcg": "nDCG",
    r"ndcg_cut_(\d+)": r"nDCG@\1",
    r"recip_rank": "RR",
    r"P_(\d+)": r"P@\1",
    r"recall_(\d+)": r"R@\1",
    r"success_(\d+)": r"Success@\1",
    r"bpref": "Bpref",
    r"iprec_at_recall_(\d\.\d+)": r"IPrec@\1",
    r"num_q": "NumQ",
    r"num_ret": "NumRet",
    r"num_rel": "NumRel",
    r"num_rel_ret": "NumRelRet",
    r"set_P": "SetP",
    r"set_recall": "SetR",
    r"set_F": "SetF",
    r"set_map": "SetAP",
}


def parse_measures(names: Iterable[str]) -> tuple[Measure, ...]:
    """The measures of these names, each once, in their order; `str` of one is its name.

    Args:
        names: as ir-measures writes them, such as "P@5", "nDCG(dcg='exp-log2')@10" or "AP(rel=2)";
            or as trec_eval does, such as "ndcg_cut_10" or "map".

    Raises:
        InputError: there is no such measure, a parameter is missing or not one of its, or what
            computes it is not installed.
        MissingDependencyError: ir-measures is not installed.
    """
    asked = [names] if isinstance(names, str) else list(names)
    if not asked:
        raise InputError(f"no measure is named: {_TRY}")
    return tuple(dict.fromkeys(map(_parse, asked)))


def evaluate_run(run: Run, qrels: Qrels, measures: Iterable[Measure]) -> Mapping[str, Float64]:
    """The value of each measure for each query that has judgements, as `trec_eval -c -q`.

    Rankings are taken in trec_eval's order. A query that the run misses has the measure's default,
    which is 0; queries without judgements are left out.

    Returns:
        (n_queries) float64 by the measure's name, aligned with `list(qrels)`.

    Raises:
        InputError: a relevance grade is beyond what trec_eval can take, or a measure fails.
    """
    import ir_measures

    qids = list(qrels)
    chosen = tuple(measures)
    values = {str(m): np.full(len(qids), m.DEFAULT, dtype=np.float64) for m in chosen}
    groups = _groups(chosen)
    names = [
        str(rank) for rank in range(max((len(r.ids) for r in run.rankings.values()), default=0))
    ]
    for start in range(0, len(qids), _BATCH):
        batch = qids[start : start + _BATCH]
        seen = [_seen(qid, run.rankings.get(qid), qrels[qid], names) for qid in batch]
        for group in groups:
            for name, row, value in group.compute(seen, ir_measures):
                values[name][start + row] = value
    return values


def aggregate(measure: Measure, values: npt.ArrayLike) -> float:
    """One number for all queries: the mean, or the sum for measures that count (NumRel, NumRet).

    NaN is the mean of no query.
    """
    total = measure.aggregator()
    for value in np.asarray(values, dtype=np.float64).tolist():
        total.add(value)
    return float(total.result())


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a measure sees of a query: a document is the number of its rank, "0" the best.

    Attributes:
        ranked: the names of the documents, best first.
        grades: relevance by name; judged documents that were not found have names of their own.
    """

    ranked: Sequence[str]
    grades: Mapping[str, int]


def _seen(
    qid: str, ranking: Ranking | None, judged: Mapping[str, int], names: Sequence[str]
) -> _Seen:
    if max(judged.values(), default=0) > LARGEST_GRADE:
        raise InputError(
            f"query {quoted(qid)} has a relevance grade above {LARGEST_GRADE:,}, which trec_eval "
            "cannot take: use small whole numbers"
        )
    ids = () if ranking is None else trec_order(ranking).ids
    found = {id: name for id, name in zip(ids, names, strict=False) if id in judged}
    grades = {found.get(id, f"unfound{n}"): int(g) for n, (id, g) in enumerate(judged.items())}
    if grades and max(grades.values()) < 0:
        # trec_eval refuses such a query, and its C code called from Python writes where it should
        # not. With one document that is not relevant, all that is relevant stays nothing.
        grades["unfound"] = 0
    return _Seen(names[: len(ids)], grades)


@dataclass(slots=True)
class _Group:
    """Measures that one evaluator can compute at once.

    Attributes:
        depth: of each ranking only so many documents are shown; None is all.
        all_queries: whether a query that the run misses is computed too.
        names: what each measure that is computed was called.
    """

    depth: int | None
    all_queries: bool
    names: dict[Measure, str] = field(default_factory=dict)

    def compute(self, seen: Sequence[_Seen], ir_measures: Any) -> Iterator[tuple[str, int, float]]:
        """Name of the measure, index of the query, value."""
        qrels, run = {}, {}
        for row, query in enumerate(seen):
            if not query.grades or not (query.ranked or self.all_queries):
                continue
            ranked = query.ranked[: self.depth] or ["unjudged"]
            qrels[str(row)] = query.grades
            # From the number of documents down to 1: no ties, and exact in 32 bits.
            run[str(row)] = dict(zip(ranked, map(float, range(len(ranked), 0, -1)), strict=True))
        if not run:
            return
        try:
            for metric in ir_measures.evaluator(list(self.names), qrels).iter_calc(run):
                yield self.names[metric.measure], int(metric.query_id), metric.value
        except Exception as error:  # the providers raise whatever goes wrong in them
            raise InputError(
                f"cannot compute {', '.join(self.names.values())} of this run: "
                f"{type(error).__name__}: {' '.join(str(error).split())}; leave it out"
            ) from error


def _groups(measures: Sequence[Measure]) -> list[_Group]:
    """Apart are measures with different parameters, which the provider for trec_eval mixes up."""
    groups: dict[tuple[object, ...], _Group] = {}
    for measure in measures:
        params = dict(measure.params)
        depth = None
        if measure.NAME == "RR" and "cutoff" in params and not params.get("judged_only"):
            # As trec_eval does it, `-M 10 -m recip_rank`: it has no RR at a depth.
            depth = params.pop("cutoff")
        all_queries = measure.NAME in _COUNT_JUDGEMENTS
        others = {key: value for key, value in params.items() if key != measure.AT_PARAM}
        key = (depth, all_queries, repr(sorted(others.items())))
        group = groups.setdefault(key, _Group(depth, all_queries))
        group.names[type(measure)(**params)] = str(measure)
    return list(groups.values())


def _parse(name: str) -> Measure:
    try:
        from ir_measures.measures import registry
    except ImportError as error:
        raise MissingDependencyError(
            "measures need ir-measures: pip install 'gingham[eval]'"
        ) from error
    text = reduce(
        lambda text, rule: re.sub(rf"^{rule[0]}$", rule[1], text, flags=re.ASCII),
        _OF_TREC_EVAL.items(),
        name.strip(),
    )
    # ir_measures.parse_measure() uses parts of ast that Python 3.14 no longer has.
    try:
        base, params, at = _taken_apart(text)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(
            f"cannot read the measure {quoted(name)}: a measure is Name, Name@cutoff or "
            f"Name(parameter=value)@cutoff; {_TRY}"
        ) from error
    if base not in registry:
        raise InputError(f"unknown measure {quoted(name)}: {_TRY}")
    measure: Measure = registry[base]
    if at is not None:
        params[measure.AT_PARAM] = at
    measure = measure(**_checked(measure, params, name))
    _check_provider(measure)
    return measure


def _taken_apart(text: str) -> tuple[str, dict[str, Any], Any]:
    """Name, parameters and what stands behind the "@".

    Raises:
        SyntaxError, ValueError, TypeError: it is not of this form.
    """
    node = ast.parse(text, mode="eval").body
    params: dict[str, Any] = {}
    at = None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        at = ast.literal_eval(node.right)
        node = node.left
    if isinstance(node, ast.Call):
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("parameters must be named")
        params = {f"{keyword.arg}": ast.literal_eval(keyword.value) for keyword in node.keywords}
        node = node.func
    if not isinstance(node, ast.Name):
        raise ValueError("no name")
    return node.id, params, at


def _checked(measure: Measure, params: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The parameters, with whole numbers as floats where a float is meant.

    Raises:
        InputError: one is unknown, of another type, out of range or missing.
    """
    known: dict[str, Any] = measure.SUPPORTED_PARAMS
    checked: dict[str, Any] = {}
    for key, value in params.items():
        if key not in known:
            takes = ", ".join(known) or "no parameter"
            raise InputError(f"measure {quoted(name)} has no {key!r}: it takes {takes}; {_TRY}")
        if known[key].dtype is float and type(value) is int:
            value = float(value)
        # Not isinstance: True is an int.
        if type(value) is not known[key].dtype or not known[key].validate(value):
            raise InputError(f"measure {quoted(name)}: {key}={value!r} is no value of it; {_TRY}")
        low, high = _LIMITS.get(key, (-np.inf, np.inf))
        if isinstance(value, int | float) and not low <= value <= high:
            raise InputError(
                f"measure {quoted(name)}: {key} must be from {low} to {high:,}, got {value!r}"
            )
        if key == "gains":
            _check_gains(value, name)
        checked[key] = value
    missing = [key for key, info in known.items() if info.required and key not in checked]
    if missing:
        raise InputError(f"measure {quoted(name)} needs a {missing[0]}: {_TRY}")
    return checked


def _check_gains(gains: Mapping[object, object], name: str) -> None:
    for grade, gain in gains.items():
        if type(grade) is not int or type(gain) is not int or not 0 <= gain <= LARGEST_GRADE:
            raise InputError(
                f"measure {quoted(name)}: gains must map grades to whole numbers from 0 to "
                f"{LARGEST_GRADE:,}, such as gains={{0:0,1:1,2:3}}"
            )


def _check_provider(measure: Measure) -> None:
    from ir_measures import DefaultPipeline

    remedies = []
    for provider in DefaultPipeline.providers:
        if not provider.supports(measure):
            continue
        if provider.NAME == "pyndeval":
            raise InputError(
                f"measure {measure} needs judgements of subtopics, which are not read here; {_TRY}"
            )
        if provider.is_available():
            return
        remedy = " ".join((provider.install_instructions() or provider.NAME).split())
        remedies.append(f"{provider.NAME} ({remedy})")
    if remedies:
        raise InputError(
            f"measure {measure} needs what is not installed: {' or '.join(remedies)}; or {_TRY}"
        )
    raise InputError(f"measure {measure} cannot be computed with these parameters; {_TRY}")
