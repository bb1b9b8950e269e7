"""Reading YAML with its lines, and `-o` overrides. What a schema says about the keys is in test_config.py."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ocr_cml.yaml_source import Source, apply_override, dotted, read_yaml
from ppocr_data.errors import ConfigError

Read = Callable[[str], Source]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read a text as a file called given.yml."""

    def from_text(text: str) -> Source:
        path = tmp_path / "given.yml"
        path.write_bytes(text.encode())
        return read_yaml(path)

    return from_text


def overridden(*assignments: str, data: dict[str, Any] | None = None) -> Source:
    """A source after overrides."""
    source = Source(data={} if data is None else data)
    for assignment in assignments:
        apply_override(source, assignment)
    return source


# --- scalars ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("5e-5", 5e-5),
        ("+2e3", 2000.0),
        ("-1e-3", -0.001),
        ("1.", 1.0),
        (".5", 0.5),
        (".5e-1", 0.05),
        ("1.5e+2", 150.0),
        ("1.0e-3", 0.001),
        ("-.inf", -math.inf),
        ("7", 7),
        ("-7", -7),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("abc", "abc"),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("1./255.", "1./255."),
        ("v1.2.3", "v1.2.3"),
        ("2026-01-02", "2026-01-02"),  # no dates,
        ("2026-13-45", "2026-13-45"),
        ("1:30", "1:30"),  # no base 60,
        ("010", "010"),  # and no octal by a leading zero, which a strict schema then refuses as a string
        ("0b_", "0b_"),
    ],
)
def test_scalars_are_read_the_same_from_a_file_and_from_an_override(read: Read, written: str, value: object) -> None:
    from_file = read(f"key: {written}\n").data["key"]
    from_override = overridden(f"key={written}").data["key"]
    for found in (from_file, from_override):
        assert type(found) is type(value)
        assert found == value


# --- files -----------------------------------------------------------------------------------------------------------


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(read: Read) -> None:
    plain = read("Global:\n  seed: 1\n  save_model_dir: über\n")
    windows = read("\ufeffGlobal:\r\n  seed: 1\r\n  save_model_dir: über\r\n")
    assert windows.data == plain.data == {"Global": {"seed": 1, "save_model_dir": "über"}}
    assert windows.lines == plain.lines


def test_every_key_knows_its_line(read: Read) -> None:
    source = read("# comment\nGlobal:\n  seed: 1\nLoss:\n  - DBLoss:\n      weight: 2\n  - DMLLoss:\n")
    places = {".".join(path): place.rpartition(":")[2] for path, place in source.lines.items() if path}
    assert places["Global"] == "2"
    assert places["Global.seed"] == "3"
    assert places["Loss.0.DBLoss"] == "5"
    assert places["Loss.0.DBLoss.weight"] == "6"
    assert places["Loss.1.DMLLoss"] == "7"


def test_where_falls_back_to_the_enclosing_key(read: Read) -> None:
    source = read("Global:\n  seed: 1\n")
    assert str(source.where(("Global", "nope", "deeper"))).endswith("given.yml:1")
    assert source.where(("Nowhere",)) is None


def test_a_repeated_key_is_a_problem_that_names_both_lines(read: Read) -> None:
    source = read("Global:\n  seed: 1\n  epoch_num: 2\n  seed: 3\n")
    (problem,) = source.problems
    assert problem.startswith("Global.seed: written twice")
    assert "given.yml:2" in problem
    assert "given.yml:4" in problem


def test_all_repeated_keys_are_told_also_inside_lists_and_at_the_top(read: Read) -> None:
    source = read("a:\n  - {x: 1, x: 2}\nb: {y: {z: 1, z: 2}}\na: 3\n")
    assert [problem.partition(":")[0] for problem in source.problems] == ["a.0.x", "b.y.z", "a"]


def test_a_repeated_key_of_another_type_is_repeated_all_the_same(read: Read) -> None:
    (problem,) = read("names:\n  1: a\n  '1': b\n").problems
    assert problem.startswith("names.1: written twice")


def test_an_alias_is_a_copy(read: Read) -> None:
    source = read("a: &a {x: [1, 2]}\nb: *a\n")
    assert source.data["b"] == {"x": [1, 2]}
    apply_override(source, "b.x.0=9")
    assert source.data == {"a": {"x": [1, 2]}, "b": {"x": [9, 2]}}
    assert source.problems == []


def test_a_merged_key_may_be_overridden_beside_the_merge(read: Read) -> None:
    source = read("base: &base {x: 1, y: 1}\nnew:\n  <<: *base\n  x: 2\n")
    assert source.data["new"] == {"x": 2, "y": 1}
    assert source.problems == []
    assert str(source.where(("new", "x"))).endswith(":4")
    assert str(source.where(("new", "y"))).endswith(":1")


def test_of_several_merged_mappings_the_first_wins(read: Read) -> None:
    source = read("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nnew:\n  <<: [*a, *b]\n")
    assert source.data["new"] == {"x": 1, "y": 2}
    assert source.problems == []


def test_an_alias_of_a_mapping_with_a_merge_equals_the_original(read: Read) -> None:
    source = read("base: &base {x: 1, y: 1}\none: &one\n  <<: *base\n  x: 2\ntwo: *one\nthree: {<<: *one, y: 3}\n")
    assert source.problems == []
    assert source.data["two"] == source.data["one"] == {"x": 2, "y": 1}
    assert source.data["three"] == {"x": 2, "y": 3}


def test_a_key_repeated_beside_a_merge_is_still_a_problem(read: Read) -> None:
    (problem,) = read("base: &base {x: 1}\nnew:\n  <<: *base\n  x: 2\n  x: 3\n").problems
    assert problem.startswith("new.x: written twice")


def test_an_empty_file_or_one_of_comments_has_no_data(read: Read) -> None:
    assert read("").data == {}
    assert read("# nothing\n---\n").data == {}


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.yml: no such file; give a configuration with -c"):
        read_yaml(tmp_path / "absent.yml")


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is a folder; give a configuration with -c, a YAML file"):
        read_yaml(tmp_path)
    (tmp_path / "config.yml").touch()
    with pytest.raises(ConfigError, match=r"is a folder; give a configuration with -c, .*/config\.yml"):
        read_yaml(tmp_path)
    for name in ("compare.yml", "det_a.yml", "det_b.yml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"config\.yml .*det_a\.yml .*det_b\.yml$"):  # not those of a comparison
        read_yaml(tmp_path)


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yml").write_bytes(b"Global:\n  a: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.yml:2: is not UTF-8; save the file as UTF-8"):
        read_yaml(tmp_path / "latin.yml")


@pytest.mark.parametrize("text", ["- Global\n- Loss\n", "just words\n", "7\n"])
def test_a_file_that_is_no_mapping_is_refused(read: Read, text: str) -> None:
    with pytest.raises(ConfigError, match="expected sections such as Global"):
        read(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a: 1\n\tb: 2\n", 2),
        ("a: 1\nb: *nowhere\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
    ],
)
def test_broken_yaml_names_file_and_line(read: Read, text: str, line: int) -> None:
    with pytest.raises(ConfigError, match=rf"given\.yml:{line}: not valid YAML"):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\x07\n",  # a control character
        "a: " + "9" * 5000 + "\n",  # more digits than Python turns into a number
        "a: &a [*a]\n",  # holds itself
        "a: " + "[" * 3000 + "]" * 3000 + "\n",
        "a: !!python/object/apply:os.getcwd []\n",
    ],
    ids=["control character", "digits", "recursion", "depth", "python object"],
)
def test_yaml_that_cannot_be_built_is_refused_with_the_file_s_name(read: Read, text: str) -> None:
    with pytest.raises(ConfigError, match=r"given\.yml"):
        read(text)


# --- overrides -------------------------------------------------------------------------------------------------------


def transforms() -> dict[str, Any]:
    """A list of one-key mappings as PaddleOCR writes it."""
    return {"ops": [{"Decode": None}, {"Shrink": {"ratio": 0.4, "min": 8}}, {"Flip": {"args": [{"p": 0.5}]}}]}


def test_an_override_replaces_adds_and_makes_sections() -> None:
    source = overridden("a.b=1", "a.c.d=[1, 2]", "a.b=2", "e=", data={"a": {"b": 0}, "e": 5})
    assert source.data == {"a": {"b": 2, "c": {"d": [1, 2]}}, "e": None}
    assert source.problems == []


@pytest.mark.parametrize("entry", ["Shrink", "1.Shrink"])
def test_a_list_of_named_steps_is_entered_by_name_or_index(entry: str) -> None:
    source = overridden(f"ops.{entry}.ratio=0.5", data=transforms())
    assert source.data["ops"] == [{"Decode": None}, {"Shrink": {"ratio": 0.5, "min": 8}}, transforms()["ops"][2]]
    assert source.where(("ops", "1", "Shrink", "ratio")) == f"-o ops.{entry}.ratio"


def test_a_step_without_arguments_gets_them_by_name() -> None:
    assert overridden("ops.Decode.mode=BGR", data=transforms()).data["ops"][0] == {"Decode": {"mode": "BGR"}}


def test_a_nested_list_is_entered_by_index() -> None:
    assert overridden("ops.Flip.args.0.p=1", data=transforms()).data["ops"][2] == {"Flip": {"args": [{"p": 1}]}}


def test_a_whole_step_is_replaced_by_index_and_its_arguments_by_name() -> None:
    assert overridden("ops.0={Other: {x: 1}}", data=transforms()).data["ops"][0] == {"Other": {"x": 1}}
    assert overridden("ops.Shrink={ratio: 1}", data=transforms()).data["ops"][1] == {"Shrink": {"ratio": 1}}


@pytest.mark.parametrize("entry", ["Srink", "3", "-1", "²"])
def test_a_step_that_is_not_in_the_list_is_a_problem_that_lists_it(entry: str) -> None:
    source = overridden(f"ops.{entry}.ratio=0.5", data=transforms())
    (problem,) = source.problems
    assert f"-o ops.{entry}.ratio" in problem
    assert "Decode, Shrink, Flip" in problem
    assert source.data == transforms()


def test_a_name_that_stands_in_the_list_twice_is_ambiguous_and_says_so() -> None:
    data = {"terms": [{"KL": {"w": 1}}, {"DB": {}}, {"KL": {"w": 2}}]}
    source = overridden("terms.KL.w=3", data=data)
    (problem,) = source.problems
    assert source.data["terms"][0] == {"KL": {"w": 1}}
    assert "without" not in problem  # it is there, twice
    assert "0" in problem
    assert "2" in problem


def test_a_value_has_no_keys() -> None:
    (problem,) = overridden("seed.x=1", data={"seed": 7}).problems
    assert "seed is a single value" in problem
    assert "'x'" in problem


@pytest.mark.parametrize("assignment", ["seed", "=1", "a..b=1", ".a=1", "a.=1", ""])
def test_an_assignment_without_a_key_or_a_value_is_a_problem(assignment: str) -> None:
    (problem,) = overridden(assignment).problems
    assert "expected Section.key=value" in problem


@pytest.mark.parametrize(
    "value", ["[1, 2", "{a: ", "*x", "'open", "!!python/object:x 1", "9" * 5000, "&a [*a]", '"\\ud800"', "\x07"]
)
def test_bad_value_syntax_is_a_problem_that_names_the_key(value: str) -> None:
    source = overridden(f"a.b={value}")
    (problem,) = source.problems
    assert problem.startswith("-o a.b: ")
    assert "not a YAML value" in problem
    assert source.data == {}


def test_a_value_may_hold_an_equals_sign() -> None:
    assert overridden("a=b=c").data == {"a": "b=c"}


def test_a_repeated_key_in_an_override_is_a_problem() -> None:
    (problem,) = overridden("lr={rate: 0.1, rate: 0.2}").problems
    assert "rate" in problem
    assert "twice" in problem


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        ({"a": {"b": 1, "c": [{"d": None}, 2]}, "e": []}, {"a.b": 1, "a.c.0.d": None, "a.c.1": 2, "e": []}),
        (None, {}),
        ({}, {}),
    ],
)
def test_nested_data_as_dotted_keys(data: object, keys: dict[str, object]) -> None:
    assert dotted(data) == keys


def test_keys_of_an_override_are_strings_as_in_a_file() -> None:
    assert overridden("a={1: x, 2026-01-02: y}").data == {"a": {"1": "x", "2026-01-02": "y"}}


def test_lines_of_replaced_keys_are_forgotten(read: Read) -> None:
    source = read("a:\n  b:\n    c: 1\n")
    apply_override(source, "a.b={d: 2}")
    assert source.where(("a", "b", "d")) == source.where(("a", "b", "c")) == "-o a.b"
    assert str(source.where(("a",))).endswith(":1")


def test_a_section_that_an_override_made_knows_it() -> None:
    source = overridden("Gobal.seed=1", data={})
    assert source.where(("Gobal",)) == "-o Gobal.seed"


# --- any text --------------------------------------------------------------------------------------------------------

yaml_like = st.text(st.sampled_from("ab01e.-+_:,[]{}&*!|>'\"%@# \n\t²=\\~<?\x07é"), max_size=25)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(yaml_like, st.text(max_size=25)))
@example(text="{? [a] : b}")
@example(text="a: {<<: 5}")
@example(text="1:30")
@example(text="a: 9999-99-99")
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.yml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        source = read_yaml(path)
    except ConfigError as error:
        assert "any.yml" in str(error)
    else:
        assert isinstance(source.data, dict)
        assert all(isinstance(key, str) for key in source.data)


keys = st.text(st.sampled_from("ab01.²-_ S"), max_size=6)


@settings(max_examples=300, deadline=None)
@given(assignments=st.lists(st.tuples(keys, st.one_of(yaml_like, st.text(max_size=15))), max_size=3))
def test_any_override_is_applied_or_told(assignments: list[tuple[str, str]]) -> None:
    source = Source(data={"a": {"b": 1}, "S": [{"a": None}, {"b": {"a": 1}}, 5]})
    for key, value in assignments:
        before = len(source.problems)
        apply_override(source, f"{key}={value}")
        assert len(source.problems) - before in (0, 1)
    assert all("-o " in problem for problem in source.problems)


def test_null_is_no_way_to_take_a_term_out() -> None:
    """It would teach with the term's defaults instead of what the file says."""
    source = Source(data={"terms": [{"TeacherLoss": {"dilation": 0}}, {"DMLLoss": None}], "single": {"a": 1}})
    apply_override(source, "terms.TeacherLoss=null")
    assert source.data["terms"][0] == {"TeacherLoss": {"dilation": 0}}
    (problem,) = source.problems
    assert problem.startswith(
        "-o terms.TeacherLoss: null would give TeacherLoss its defaults, which {} says; to do without"
    )
    apply_override(source, "terms.DMLLoss=null")
    apply_override(source, "single=null")
    apply_override(source, "terms.TeacherLoss={}")
    assert (
        source.data == {"terms": [{"TeacherLoss": {}}, {"DMLLoss": None}], "single": None} and len(source.problems) == 1
    )
