"""Exit codes and arguments that all tools share."""

from __future__ import annotations

import argparse
import errno
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ocr_cml.cli import add_config_arguments, check_writable, command_line, exit_cleanly, write_json
from ppocr_data.errors import ConfigError, DataError, ModelError, UserError, WeightsError


def run(body: str, repository: Path, **streams: int) -> subprocess.CompletedProcess[str]:
    """A tool whose main has this body, in a process of its own."""
    script = (
        "import sys\nfrom ocr_cml.cli import exit_cleanly\nfrom ppocr_data.errors import *\n"
        f"@exit_cleanly\ndef main(argv=None):\n    {body}\nsys.exit(main())\n"
    )
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-c", script], cwd=repository, text=True, check=False, **streams)


@pytest.mark.parametrize("error", [UserError, DataError, ConfigError, WeightsError, ModelError])
def test_a_mistake_is_one_message_and_exit_code_2(error: type[UserError], capsys: pytest.CaptureFixture[str]) -> None:
    @exit_cleanly
    def main(argv: list[str] | None = None) -> int:
        raise error("labels.txt:3: not JSON\n  second line")

    assert main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: labels.txt:3: not JSON\n  second line\n"


@pytest.mark.parametrize("code", ["EACCES", "EPERM", "ENAMETOOLONG", "ELOOP"])
def test_a_path_that_may_not_be_looked_at_is_a_mistake(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    @exit_cleanly
    def main(argv: list[str] | None = None) -> int:
        raise OSError(getattr(errno, code), "cannot be", "/root/photos")

    assert main() == 2
    assert capsys.readouterr().err == "error: /root/photos: cannot be\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_work_does_not_end_for_want_of_a_place_to_tell_how_far_it_is(repository: Path) -> None:
    body = "print('note', file=sys.stderr, flush=True); print('more', file=sys.stderr); print('done'); return 0"
    with Path("/dev/full").open("w") as full:
        done = run(body, repository, stderr=full.fileno())
    assert (done.returncode, done.stdout) == (0, "done\n")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as broken:
        done = run(body, repository, stderr=broken.fileno())
        mistake = run("raise UserError('no such file')", repository, stderr=broken.fileno())
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert mistake.returncode == 2


@pytest.mark.skipif(os.name != "posix", reason="closes it as a shell does")
def test_standard_error_may_be_closed(repository: Path) -> None:
    script = "import sys; from ocr_cml.cli import exit_cleanly\n@exit_cleanly\ndef main(argv=None):\n    "
    script += "print('note', file=sys.stderr); print('done'); return 0\nsys.exit(main())"
    shell = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} 2>&-"
    done = subprocess.run(shell, shell=True, cwd=repository, stdout=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
@pytest.mark.parametrize("body", ["print('scores'); return 0", "print('scores', flush=True); return 0"])
def test_a_result_that_standard_output_does_not_take_is_a_mistake_without_a_traceback(
    body: str, repository: Path
) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(body, repository, stdout=full.fileno())
    assert (done.returncode, done.stderr) == (2, "error: standard output: No space left on device\n")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken", "/disk"), OSError(errno.EACCES, "of no file")])
def test_other_errors_of_the_system_keep_their_traceback(error: OSError) -> None:
    @exit_cleanly
    def main(argv: list[str] | None = None) -> int:
        raise error

    with pytest.raises(OSError, match=r"broken|of no file"):
        main()


def test_a_name_that_is_too_long_is_one_message(repository: Path) -> None:
    done = run("open('a' * 300)", repository)
    assert (done.returncode, done.stderr) == (2, f"error: {'a' * 300}: File name too long\n")


def test_success_passes_the_code_and_the_arguments_through() -> None:
    @exit_cleanly
    def main(argv: list[str] | None = None) -> int:
        """What it does."""
        return len(argv or [])

    assert main() == 0
    assert main(["a", "b", "c"]) == 3
    assert main.__doc__ == "What it does."


def test_a_defect_keeps_its_traceback() -> None:
    @exit_cleanly
    def main(argv: list[str] | None = None) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_exit_codes_of_a_process(repository: Path) -> None:
    mistake = run("raise UserError('no')", repository)
    assert (mistake.returncode, mistake.stdout, mistake.stderr) == (2, "", "error: no\n")
    interrupt = run("raise KeyboardInterrupt", repository)
    assert (interrupt.returncode, interrupt.stderr) == (130, "interrupted\n")
    assert run("return 0", repository).returncode == 0
    defect = run("return 1 // 0", repository)
    assert defect.returncode == 1
    assert "Traceback" in defect.stderr


def test_a_process_that_is_terminated_reports_no_crash(repository: Path) -> None:
    """Importing paddle answers SIGTERM with a crash report of its own."""
    done = run(
        "import os, signal, time, paddle\n    from ocr_cml.environment import take_back_sigterm\n"
        "    take_back_sigterm(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)",
        repository,
    )
    assert done.returncode == 143
    assert done.stderr.endswith("terminated\n") and "Traceback" not in done.stderr


@pytest.mark.parametrize(("ignored", "code"), [(False, 129), (True, 0)])
def test_a_closed_terminal_ends_a_tool_in_order_unless_that_is_ignored(
    ignored: bool, code: int, repository: Path
) -> None:
    first = "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n" if ignored else ""
    script = (
        f"import signal, sys\n{first}from ocr_cml.cli import exit_cleanly\n"
        "@exit_cleanly\ndef main(argv=None):\n    try:\n        signal.raise_signal(signal.SIGHUP)\n"
        "    finally:\n        print('tidied up')\n    return 0\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, "tidied up\n")
    assert done.stderr == ("" if ignored else "terminated\n")


def test_a_reader_that_went_away_is_no_error(repository: Path) -> None:
    script = (
        "import sys\nfrom ocr_cml.cli import exit_cleanly\n"
        "@exit_cleanly\ndef main(argv=None):\n    for _ in range(100000): print('line')\n    return 0\n"
        "sys.exit(main())\n"
    )
    tool = subprocess.Popen(
        [sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert tool.stdout is not None
    assert tool.stderr is not None
    assert tool.stdout.readline() == "line\n"
    tool.stdout.close()
    assert tool.stderr.read() == ""
    assert tool.wait() == 0
    tool.stderr.close()


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_config_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize("program", ["tools/train.py", "my tools/train.py", "ocr-cml train"])
def test_the_command_line_is_read_back_by_a_shell(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["-c", "my photos/a.yml", "-o", "Global.eval_batch_step=[0, 5]"]
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    words = program.split() if program.startswith("ocr-cml") else [program]
    assert shlex.split(command_line()) == [*words, *arguments]


def test_overrides_are_collected_in_order() -> None:
    given = parsed("-c", "a.yml", "-o", "x=1", "y=2", "-o", "x=3")
    assert given.config == "a.yml"
    assert given.override == ["x=1", "y=2", "x=3"]


def test_overrides_do_not_leak_from_one_call_into_the_next() -> None:
    assert parsed("-c", "a.yml", "-o", "x=1").override == ["x=1"]
    assert parsed("-c", "a.yml").override == []


def test_a_configuration_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        parsed("-o", "x=1")
    assert left.value.code == 2
    assert "-c" in capsys.readouterr().err


def test_asking_whether_a_json_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("earlier")
    check_writable(there)
    check_writable(tmp_path / "new/scores.json")
    assert there.read_text() == "earlier"
    assert list(tmp_path.rglob("*.json")) == [there]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_written_to_once(tmp_path: Path) -> None:
    """Opened and closed to see whether that is possible, it would have told its reader that nothing more comes."""
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE, text=True)
    check_writable(tmp_path / "pipe")
    write_json(tmp_path / "pipe", {"scores": 1})
    assert json.loads(reader.communicate(timeout=60)[0]) == {"scores": 1}


def test_a_json_file_is_written_whole_through_a_link_or_stays(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text("earlier")
    (tmp_path / "link.json").symlink_to("scores.json")
    with pytest.raises(TypeError):
        write_json(tmp_path / "link.json", {"scores": object()})
    assert (tmp_path / "scores.json").read_text() == "earlier"
    write_json(tmp_path / "link.json", {"scores": 1})
    assert json.loads((tmp_path / "scores.json").read_text()) == {"scores": 1}
    assert (tmp_path / "link.json").is_symlink()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_what_is_no_file_is_written_to_and_not_replaced() -> None:
    with pytest.raises(ConfigError, match=r"^--json /dev/full: cannot be written: No space left on device$"):
        write_json(Path("/dev/full"), {"scores": 1})
    assert Path("/dev/full").is_char_device()
