"""The conductor: queries, oracle, curve, score error and target, in this order.

The oracle is exhaustive scoring of the same stored vectors, so recall is of what the stages miss;
what compression does to scores is measured apart, against texts that are encoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gingham import intake
from gingham.audit import made_queries
from gingham.audit.choosing import CURRENT, choose, ladder, points
from gingham.audit.measuring import Bench, Report, interval
from gingham.audit.values import Audit, AuditTarget, Source
from gingham.document import TokenVectors
from gingham.errors import InputError
from gingham.index.clustered_segment import ClusteredSegment
from gingham.index.snapshot import Snapshot
from gingham.recorded_model import RecordedModel
from gingham.report import AuditProgress
from gingham.search import searcher
from gingham.search.exhaustive import eligible_rows
from gingham.search.parameters import SearchParameters
from gingham.search.staged import Plan

Save = Callable[[SearchParameters], None]


def audit(
    snapshot: Snapshot,
    model: RecordedModel,
    queries: Sequence[str] | TokenVectors | None,
    k: int,
    target: float | None,
    sample: int,
    seed: int,
    save: Save | None,
    threads: int | None,
    progress: Report | None,
) -> Audit:
    """See `Collection.audit`.

    Args:
        snapshot: what is audited.
        model: of the collection.
        queries: texts or vectors; None to make some from stored passages.
        k: hits a query.
        target: the recall that parameters are looked for, None to look for none.
        sample: at most so many queries.
        seed: of sample, intervals and halves.
        save: called once with parameters that reach the target; None to keep them nowhere.
        threads: for the oracle and the encoder.
        progress: told how far it has come.
    """
    k = intake.check_k(k)
    _check(snapshot, queries, target, sample, seed, save)
    report = progress or _silent
    report(AuditProgress("making queries" if queries is None else "encoding queries", 0, sample))
    asked, made_from = _queries(snapshot, model, queries, sample, seed)
    if target is not None and len(asked) < 2:
        raise InputError("a target needs two queries at least: one half chooses, the other judges")
    bench = Bench(snapshot, asked, k, threads, report)
    compressed = [s.record.tokens for s in snapshot.segments if isinstance(s, ClusteredSegment)]
    rungs = {CURRENT: searcher.stored(snapshot, k)}
    # Few passages are scored whole, compressed or not: then there is nothing to choose between.
    staged = not Plan(snapshot, eligible_rows(snapshot, None), rungs[CURRENT]).is_complete
    if staged:
        bench.score_everything()
        passages = sum(segment.record.passages for segment in snapshot.segments)
        rungs = ladder(SearchParameters.default(k, passages), rungs[CURRENT])
    curve = bench.measure(rungs)
    current = curve[0]
    encoder = model.encoder_if_known(snapshot.settings)
    error = None if encoder is None else bench.score_error(encoder, current.parameters, seed)
    aim = None
    if target is not None and staged:
        aim, between = choose(target, curve, bench.measure, seed)
        curve += between
    elif target is not None:
        aim = AuditTarget(float(target), True, None, current.p50, 1.0, 1.0, (1.0, 1.0), 0)
    result = Audit(
        k=k,
        queries=len(asked),
        made_from=made_from,
        seed=seed,
        clustered=sum(compressed) / sum(segment.record.tokens for segment in snapshot.segments),
        parameters=current.parameters if staged else None,
        are_own=staged and "parameters" in snapshot.settings,
        recall=float(current.recalls.mean()),
        interval=interval(current.recalls, seed) if staged else (1.0, 1.0),
        p50=current.p50,
        p95=current.p95,
        score_error=error,
        points=points(curve, seed) if staged else (),
        target=aim,
    )
    if save is None or aim is None or not aim.reached or aim.parameters is None:
        return result
    save(aim.parameters)  # the last that is done: whoever interrupts before has changed nothing
    return replace(result, target=replace(aim, saved=True))


def _check(
    snapshot: Snapshot, queries: Any, target: Any, sample: Any, seed: Any, save: Save | None
) -> None:
    """Everything that can be wrong, before anything is measured."""
    if isinstance(queries, str):
        raise InputError("queries are a list of texts: one alone measures nothing")
    if queries is not None and len(queries) == 0:
        raise InputError("no queries: pass some, or None to have them made from stored passages")
    number = isinstance(target, (int, float)) and not isinstance(target, bool)
    if target is not None and not (number and 0 < target <= 1):
        raise InputError(f"a target is a recall above 0 and up to 1, such as 0.97; got {target!r}")
    if save is not None and target is None:
        raise InputError("only what reaches a target can be saved: give one, such as 0.97")
    for name, value, least in (("sample", sample, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InputError(f"{name} is a whole number of at least {least}, got {value!r}")
    if not snapshot.n_documents:
        raise InputError(f"{snapshot.collection} is empty: there is nothing to measure")


def _queries(
    snapshot: Snapshot,
    model: RecordedModel,
    queries: Sequence[str] | TokenVectors | None,
    sample: int,
    seed: int,
) -> tuple[TokenVectors, Source | None]:
    if queries is None:
        return made_queries.make(snapshot, model, sample, seed)
    if len(queries) > sample:
        drawn = np.random.default_rng(seed).choice(len(queries), sample, replace=False)
        chosen = np.sort(drawn).tolist()
        if isinstance(queries, TokenVectors):
            queries = TokenVectors.from_arrays([queries[i] for i in chosen])
        else:
            queries = [queries[i] for i in chosen]
    return model.query_vectors(snapshot.settings, queries), None


def _silent(progress: AuditProgress) -> None:
    pass
