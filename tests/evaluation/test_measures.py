"""Names of measures: what is understood, and the one line where it is not."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from gingham.errors import InputError, MissingDependencyError
from gingham.evaluation.measures import DEFAULT_MEASURES, aggregate, parse_measures


def test_the_usual_ones_keep_their_names_and_order() -> None:
    assert tuple(map(str, parse_measures(DEFAULT_MEASURES))) == DEFAULT_MEASURES


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("P@5", "P@5"),
        (" P @ 5 ", "P@5"),
        ("AP(rel=2)", "AP(rel=2)"),
        ("MRR@10", "RR@10"),
        ("Recall(cutoff=7)", "R@7"),
        ("nDCG(dcg='exp-log2')@10", "nDCG(dcg='exp-log2')@10"),
        ("nDCG(gains={0:0,1:3})@10", "nDCG(gains={1:3})@10"),
        ("P(judged_only=True)@5", "P(judged_only=True)@5"),
        ("SetF(beta=2)", "SetF(beta=2.0)"),
        ("IPrec@0.1", "IPrec@0.1"),
        ("ndcg_cut_10", "nDCG@10"),
        ("ndcg", "nDCG"),
        ("map", "AP"),
        ("map_cut_100", "AP@100"),
        ("recall_1000", "R@1000"),
        ("success_5", "Success@5"),
        ("iprec_at_recall_0.10", "IPrec@0.1"),
        ("num_rel_ret", "NumRet(rel=1)"),
    ],
)
def test_names(name: str, canonical: str) -> None:
    (measure,) = parse_measures([name])
    assert str(measure) == canonical
    assert parse_measures([canonical]) == (measure,)


def test_each_once() -> None:
    assert list(map(str, parse_measures(["R@5", "AP", "recall_5", "AP(rel=1)"]))) == ["R@5", "AP"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foo@3", "unknown measure 'foo@3': try nDCG@10,"),
        ("", "cannot read the measure ''"),
        ("nDCG@", "cannot read the measure 'nDCG@': a measure is Name, Name@cutoff or"),
        ("P(5)", "cannot read the measure 'P(5)'"),
        ("P(**{'cutoff': 5})", "cannot read the measure"),
        ("P@5,P@10", "cannot read the measure 'P@5,P@10'"),
        ("P@k", "cannot read the measure 'P@k'"),
        ("P\n@5\nx", "cannot read the measure"),
        ("P\0", "cannot read the measure"),
        ("__import__('os').x@3", "cannot read the measure"),
        ("(" * 1000, "cannot read the measure"),
        ("P", "measure 'P' needs a cutoff: try"),
        ("P@0", "measure 'P@0': cutoff must be from 1 to 1,000,000, got 0"),
        ("P@-1", "cutoff must be from 1 to 1,000,000, got -1"),
        ("P@1.5", "measure 'P@1.5': cutoff=1.5 is no value of it"),
        ("P@True", "cutoff=True is no value of it"),
        ("AP(x=1)", "measure 'AP(x=1)' has no 'x': it takes cutoff, rel, judged_only"),
        ("AP(rel=0)", "rel must be from 1 to 1,000,000, got 0"),
        ("IPrec@1.5", "recall must be from 0 to 1, got 1.5"),
        ("nDCG(dcg='other')", "dcg='other' is no value of it"),
        ("nDCG(gains={1:2.5})", "gains must map grades to whole numbers from 0"),
        ("nDCG(gains={1:-5})", "gains must map grades to whole numbers from 0"),
        ("NumRel(rel=2)", "measure NumRel(rel=2) cannot be computed with these parameters"),
        ("alpha_nDCG@5", "measure alpha_nDCG@5 needs judgements of subtopics"),
    ],
)
def test_bad_name_is_one_line(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse_measures(["AP", name])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_provider_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import ir_measures

    monkeypatch.setattr(ir_measures.cwl_eval, "_is_available", False)
    with pytest.raises(
        InputError, match=r"needs what is not installed: cwl_eval \(pip install"
    ) as e:
        parse_measures(["RBP(rel=1)"])
    assert "\n" not in str(e.value)


def test_without_ir_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures.measures", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'gingham\[eval\]'"):
        parse_measures(["AP"])


def test_means_and_sums() -> None:
    mean, total = parse_measures(["AP", "NumRet"])
    assert aggregate(mean, [0.0, 0.5, 1.0]) == 0.5
    assert aggregate(total, [1.0, 2.0]) == 3.0
    assert np.isnan(aggregate(mean, []))
