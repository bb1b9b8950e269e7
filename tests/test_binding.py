"""Which term teaches whom: bindings and shares by hand, for two, three and four students and several teachers."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from ocr_cml import config
from ocr_cml.binding import TEACHERS, bind, idle_arguments, split_arguments, stated_terms
from ocr_cml.losses import TERMS, FeatureTerm
from ocr_cml.schema import Config, WeightSchedule
from ocr_cml.workable import term_problems
from ppocr_data.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parent.parent
PARTS = {
    "Backbone": {"name": "MobileNetV3", "model_name": "small", "scale": 0.35},
    "Neck": {"name": "RSEFPN", "out_channels": 24},
    "Head": {"name": "DBHead"},
}
LABELS: dict[str, object] = {"DBLoss": {}}


def settings(
    terms: list[dict[str, object]],
    students: int = 2,
    teachers: dict[str, dict[str, object]] | None = None,
    options: Sequence[str] = (),
) -> Config:
    """A configuration with students A, B, ... and these teachers and terms."""
    models: dict[str, object] = dict.fromkeys("ABCDEF"[:students], PARTS)
    models |= {name: {"freeze_params": True, **how} for name, how in (teachers or {}).items()}
    changes = {"Architecture.Models": models, "Loss.loss_config_list": terms}
    given = [f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6)}" for key, value in changes.items()]
    return config.load(REPOSITORY / "configs" / "det_cml.yml", [*given, *options])


def bound(*args: object, **kwargs: object) -> list[tuple[str, str, str | None, float]]:
    """(label, learner, guide, share) of every binding."""
    return [(b.label, b.learner, b.guide, b.share) for b in bind(settings(*args, **kwargs))]  # type: ignore[arg-type]


T1 = {"T": {"inference_model": "teachers/one"}}
T2 = {**T1, "U": {"pretrained": "teachers/two.npz", **PARTS}}
OPEN = {"T": {"pretrained": "one.npz", **PARTS}}


def test_labels_teach_every_student_with_the_whole_weight() -> None:
    assert bound([LABELS], students=3) == [(f"{_prefix('DBLoss')}/{name}", name, None, 1.0) for name in "ABC"]


def _prefix(term: str) -> str:
    return str(TERMS[term].log_name)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_mutual_binds_every_ordered_pair_once_with_one_kth(count: int) -> None:
    found = bound([LABELS, {"DMLLoss": {}}], students=count)[count:]
    pairs = [(learner, guide) for _, learner, guide, _ in found]
    assert pairs == list(itertools.permutations("ABCD"[:count], 2))
    assert {share for *_, share in found} == {1 / (count - 1)}
    assert found[0][0] == "mutual/A<-B"


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"model_name_list": ["A", "C"]},
        {"model_name_pairs": [["A", "B"], ["B", "C"]]},
        {"model_name_pairs": [["A", "B"], ["A", "C"], ["A", "D"]]},
    ],
)
def test_the_shares_of_one_learner_sum_to_one(arguments: dict[str, object]) -> None:
    shares: dict[str, float] = defaultdict(float)
    for _, learner, _, share in bound([LABELS, {"DMLLoss": arguments}], students=4)[4:]:
        shares[learner] += share
    assert list(shares.values()) == pytest.approx([1.0] * len(shares))


def test_mutual_among_some() -> None:
    found = bound([LABELS, {"DMLLoss": {"model_name_list": ["C", "A"]}}], students=3)[3:]
    assert found == [("mutual/C<-A", "C", "A", 1.0), ("mutual/A<-C", "A", "C", 1.0)]


def test_a_mutual_pair_binds_both_ways() -> None:
    """As PaddleOCR's files write it; a student of two pairs gives each peer half."""
    found = bound([LABELS, {"DMLLoss": {"model_name_pairs": [["A", "B"], ["B", "C"]]}}], students=3)[3:]
    assert sorted(found) == [
        ("mutual/A<-B", "A", "B", 1.0),
        ("mutual/B<-A", "B", "A", 0.5),
        ("mutual/B<-C", "B", "C", 0.5),
        ("mutual/C<-B", "C", "B", 1.0),
    ]


def test_one_teacher_teaches_every_student_by_its_name() -> None:
    found = bound([{"TeacherLoss": {}}], teachers=T1)
    assert [(learner, guide, share) for _, learner, guide, share in found] == [("A", "T", 1.0), ("B", "T", 1.0)]
    assert found[0][0] == f"{_prefix('TeacherLoss')}/A<-T"


def test_several_teachers_teach_by_their_mean() -> None:
    found = bound([{"TeacherLoss": {}}], teachers=T2)
    assert [(learner, guide, share) for _, learner, guide, share in found] == [
        ("A", TEACHERS, 1.0),
        ("B", TEACHERS, 1.0),
    ]


def test_teacher_pairs_bind_one_way() -> None:
    found = bound([{"TeacherLoss": {"model_name_pairs": [["A", "T"], ["B", "U"], ["B", "T"]]}}], teachers=T2)
    assert [(learner, guide) for _, learner, guide, _ in found] == [("A", "T"), ("B", "U"), ("B", "T")]


def test_a_term_may_have_learners_of_its_own() -> None:
    found = bound([{"DBLoss": {"model_name_list": ["A"]}}, {"TeacherLoss": {"model_name_list": ["B"]}}], teachers=T1)
    assert [(learner, guide) for _, learner, guide, _ in found] == [("A", None), ("B", "T")]


def test_labels_are_unique_and_count_from_the_second() -> None:
    found = bind(settings([LABELS, {"DMLLoss": {}}, {"DMLLoss": {"divergence": "js"}}, {"DMLLoss": {}}]))
    labels = [binding.label for binding in found]
    assert len(set(labels)) == len(labels)
    assert [label for label in labels if "A<-B" in label] == ["mutual/A<-B", "mutual/A<-B#2", "mutual/A<-B#3"]
    assert [b.term for b in found] == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("term", sorted(TERMS))
def test_every_term_binds_to_one_student_and_its_label_begins_with_its_own_name(term: str) -> None:
    arguments = {"layers": [["neck", "neck"]]} if issubclass(TERMS[term], FeatureTerm) else {}
    teachers = OPEN if TERMS[term].role == "teacher" else None
    count = 2 if TERMS[term].role == "mutual" else 1
    peers = [LABELS] if TERMS[term].role == "mutual" else []
    found = bind(settings([{term: arguments}, *peers], students=count, teachers=teachers))[:count]
    assert [binding.learner for binding in found] == list("AB"[:count])
    assert all(binding.label.startswith(f"{TERMS[term].log_name}/") for binding in found)


def test_log_names_are_unique() -> None:
    names = [term.log_name for term in TERMS.values()]
    assert len(set(names)) == len(names)


def test_arguments_are_parted() -> None:
    common, own = split_arguments({"weight": {"start": 0.5}, "model_name_list": ["A"], "divergence": "js"})
    assert common.weight == WeightSchedule(start=0.5)
    assert common.model_name_list == ["A"]
    assert own == {"divergence": "js"}
    assert split_arguments(None)[0].weight == 1.0


def test_a_good_configuration_has_no_problems() -> None:
    assert term_problems(settings([LABELS, {"DMLLoss": {}}])) == []


# --- what cannot bind ------------------------------------------------------------------------------------------------

ATTENTION = {"ATLoss": {"layers": [["neck", "neck"]]}}


@pytest.mark.parametrize(
    ("terms", "students", "teachers", "words"),
    [
        ([LABELS, {"DMLLoss": {}}], 1, {}, ["DMLLoss", "needs two students", "found A"]),
        ([LABELS, {"DMLLoss": {"model_name_list": ["B"]}}], 2, {}, ["needs two students", "found B"]),
        ([LABELS, {"TeacherLoss": {}}], 2, {}, ["TeacherLoss", "no network is frozen"]),
        ([LABELS], 2, T1, ["Architecture.Models.T", "no loss term asks it"]),
        ([LABELS, {"TeacherLoss": {"model_name_pairs": [["A", "T"]]}}], 2, T2, ["Models.U", "no loss term asks it"]),
        ([{"DBLoss": {"model_name_list": ["A"]}}], 2, {}, ["Architecture.Models.B", "taught by no loss term"]),
        ([{"TeacherLoss": {}}], 0, T1, ["Architecture.Models", "every network is frozen"]),
        ([LABELS, {"DMLLoss": {"model_name_list": ["A", "A"]}}], 2, {}, ["model_name_list", "named twice"]),
        ([LABELS, {"DMLLoss": {"model_name_pairs": [["A", "A"]]}}], 2, {}, ["'A' cannot guide itself"]),
        ([{"DBLoss": {"model_name_pairs": [["A", "B"]]}}], 2, {}, ["a supervised term has no guide"]),
        (
            [LABELS, {"DMLLoss": {"model_name_pairs": [["A", "T"]]}}, {"TeacherLoss": {}}],
            2,
            T1,
            ["no student is called 'T'"],
        ),
        ([LABELS, {"TeacherLoss": {"model_name_pairs": [["A", "B"]]}}], 2, T1, ["no teacher is called 'B'"]),
        ([{"DBLoss": {"model_name_list": ["T"]}}, {"TeacherLoss": {}}], 2, T1, ["no student is called 'T'"]),
        ([LABELS, ATTENTION], 2, T1, ["ATLoss", "inference model", "pretrained"]),
    ],
)
def test_what_cannot_bind_is_refused(
    terms: list[dict[str, object]], students: int, teachers: dict[str, dict[str, object]], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(terms, students, teachers)
    for word in words:
        assert word in str(refused.value)


UNLABELLED = ["Train.unlabeled={images: [photos], batch_size_per_card: 2}"]
NO_LABELS = [*UNLABELLED, "Train.dataset.label_file_list=[]"]


@pytest.mark.parametrize(
    ("terms", "options", "words"),
    [
        ([LABELS], UNLABELLED, ["Train.unlabeled", "no loss term could learn from images without labels"]),
        ([LABELS, {"DMLLoss": {"weight": 0}}], UNLABELLED, ["Train.unlabeled", "no loss term could learn from images"]),
        (
            [{"DBLoss": {"aux_weight_p3": 0.4}}],
            [],
            ["DBLoss.aux_weight_p3: no auxiliary maps come from A, B"],
        ),
        ([LABELS, {"TeacherLoss": {}}], NO_LABELS, ["DBLoss: needs labels", "label_file_list is empty"]),
        ([{"DMLLoss": {}}], NO_LABELS, ["Loss.loss_config_list", "neither a label nor a teacher"]),
        (
            [LABELS, {"DMLLoss": {}}],
            [*UNLABELLED, "Train.loader.batch_size_per_card=0"],
            ["Train: ", "labelled part of every batch empty; use 1 or more"],
        ),
        ([LABELS], ["Train.dataset.label_file_list=[]"], ["nothing to train on"]),
        (
            [LABELS, {"DMLLoss": {}}],
            ["Architecture.Models.B.Backbone.in_channels=1"],
            ["Models.B.Backbone.in_channels: is 1", "set 3"],
        ),
    ],
)
def test_labels_images_and_terms_that_do_not_fit_are_refused(
    terms: list[dict[str, object]], options: list[str], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(terms, teachers=T1 if {"TeacherLoss": {}} in terms else None, options=options)
    for word in words:
        assert word in str(refused.value)


def test_a_teacher_alone_needs_no_labels_and_labels_and_peers_no_teacher() -> None:
    assert len(bind(settings([{"TeacherLoss": {}}], teachers=T1, options=NO_LABELS))) == 2
    assert len(bind(settings([{"TeacherLoss": {}}, {"DMLLoss": {}}], teachers=T1, options=NO_LABELS))) == 4
    assert len(bind(settings([LABELS, {"DMLLoss": {}}], options=UNLABELLED))) == 4


NOBODY = "neither a label nor a teacher reaches"


@pytest.mark.parametrize(
    ("terms", "teachers", "options", "lost"),
    [
        ([{"DMLLoss": {}}], None, [], "A, B, C"),
        ([{"DBLoss": {"weight": 0.0}}, {"DMLLoss": {}}], None, [], "A, B, C"),
        ([{"DBLoss": {"model_name_list": ["A"]}}, {"DMLLoss": {"model_name_list": ["B", "C"]}}], None, [], "B, C"),
        ([{"TeacherLoss": {"weight": 0.0}}, {"DMLLoss": {}}], T1, NO_LABELS, "A, B, C"),
        (
            [{"TeacherLoss": {"model_name_list": ["A"]}}, {"DMLLoss": {"model_name_list": ["B", "C"]}}],
            T1,
            NO_LABELS,
            "B, C",
        ),
        # Ramps that are over before the first step, or begin after the last one.
        ([{"DBLoss": {"weight": {"start": 1, "end": 0, "over": [0, 0]}}}, {"DMLLoss": {}}], None, [], "A, B, C"),
        ([{"DBLoss": {"weight": {"start": 0, "end": 1, "over": [1, 1]}}}, {"DMLLoss": {}}], None, [], "A, B, C"),
    ],
)
def test_students_whom_nothing_tells_what_text_is_are_refused(
    terms: list[dict[str, object]], teachers: dict[str, object] | None, options: list[str], lost: str
) -> None:
    """They agree on anything: a loss that falls to nothing, and an hmean of zero."""
    with pytest.raises(ConfigError, match=f"{NOBODY} {lost}, so"):
        settings(terms, students=3, teachers=teachers, options=options)


def test_a_student_may_learn_what_text_is_from_a_peer_that_knows() -> None:
    chain = {"DMLLoss": {"model_name_pairs": [["A", "B"], ["B", "C"]]}}
    assert bind(settings([{"DBLoss": {"model_name_list": ["A"]}}, chain], students=3))
    for ramp in (
        {"start": 0, "end": 1},
        {"start": 1, "end": 0, "over": [0, 1]},
        {"start": 1, "end": 0, "over": [0.5, 0.5]},
    ):
        taught = {"TeacherLoss": {"weight": ramp}}
        assert bind(settings([taught, {"DMLLoss": {}}], teachers=T1, options=NO_LABELS))


@pytest.mark.parametrize("arguments", [{"model_name_list": []}, {"model_name_pairs": []}])
def test_a_list_of_nobody_is_refused(arguments: dict[str, object]) -> None:
    """It would bind to everybody."""
    with pytest.raises(ConfigError, match=next(iter(arguments))):
        settings([LABELS, {"DMLLoss": arguments}])


def test_a_list_and_pairs_together_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="model_name_pairs"):
        settings([LABELS, {"DMLLoss": {"model_name_list": ["A", "B"], "model_name_pairs": [["A", "C"]]}}], students=3)


def test_a_pair_that_is_given_twice_is_refused() -> None:
    """A mutual pair binds both ways, so [B, A] repeats [A, B] and would halve the others' shares."""
    with pytest.raises(ConfigError, match="twice"):
        settings([LABELS, {"DMLLoss": {"model_name_pairs": [["A", "B"], ["B", "A"], ["B", "C"]]}}], students=3)


def test_features_of_the_mean_of_several_teachers_do_not_exist() -> None:
    two = {"T": OPEN["T"], "U": OPEN["T"]}
    with pytest.raises(ConfigError, match="ATLoss"):
        settings([LABELS, ATTENTION], teachers=two)
    pairs = {"ATLoss": {"layers": [["neck", "neck"]], "model_name_pairs": [["A", "T"], ["B", "U"]]}}
    assert len(bind(settings([LABELS, pairs], teachers=two))) == 4


def test_features_of_one_teacher_do_not_mind_that_another_is_closed() -> None:
    pairs = {"ATLoss": {"layers": [["neck", "neck"]], "model_name_pairs": [["A", "U"]]}}
    found = bind(settings([LABELS, pairs, {"TeacherLoss": {}}], teachers=T2))
    assert [b.guide for b in found if b.term == 1] == ["U"]


# --- arguments without effect ----------------------------------------------------------------------------------------

SOFT = "kind: soft"


@pytest.mark.parametrize(
    ("term", "idle"),
    [
        ({"TeacherLoss": {"kind": "soft", "temperature": 2.0, "confidence": 0.9}}, {}),
        ({"TeacherLoss": {"kind": "soft", "dilation": 2, "alpha": 2.0}}, {"dilation": SOFT}),
        ({"TeacherLoss": {"kind": "soft", "dilation": 0, "thresh": 0.4}}, {"thresh": SOFT}),  # 0 is the default
        ({"TeacherLoss": {"dilation": 0, "thresh": 0.4}}, {}),
        ({"TeacherLoss": {"ohem_ratio": 2.0}}, {"ohem_ratio": "main_loss_type: DiceLoss"}),
        ({"TeacherLoss": {"main_loss_type": "BCELoss", "ohem_ratio": 2.0}}, {}),
        ({"DBLoss": {"ohem_ratio": 3, "balance_loss": True}}, {}),  # as PaddleOCR's files state them beside Dice
        ({"DBLoss": {"balance_loss": False}}, {"balance_loss": "main_loss_type: DiceLoss"}),
        (
            {"DBLoss": {"main_loss_type": "BCELoss", "balance_loss": False, "ohem_ratio": 5.0}},
            {"ohem_ratio": "balance_loss: false"},
        ),
        ({"DBLoss": {"focal_gamma": 1.0}}, {"focal_gamma": "main_loss_type: DiceLoss"}),
        ({"DBLoss": {"main_loss_type": "DiceFocalLoss", "focal_gamma": 1.0}}, {}),
        ({"DMLLoss": {"temperature": 2.0}}, {}),  # a term that says nothing of the kind
    ],
    ids=str,
)
def test_an_argument_without_effect_is_known_with_what_makes_it_idle(
    term: dict[str, object], idle: dict[str, str]
) -> None:
    terms = [LABELS, term] if "DBLoss" not in term else [term]
    stated = stated_terms(settings(terms, teachers=T1 if "TeacherLoss" in term else None))
    assert idle_arguments(stated[-1]) == idle
