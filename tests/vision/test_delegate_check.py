"""Looking at a delegate from outside: files, devices and the model, in a folder that stands for the system."""

from __future__ import annotations

import os
import shutil
import struct

import pytest

from edge_agent.vision.delegate_check import check_delegate
from edge_agent.vision.delegate_spec import DelegateSpec, DeviceNode
from edge_agent.vision.device_nodes import Board

STICK = DeviceNode(usb=("18d1:9302", "1a6e:089a"))
CARD = DeviceNode("/dev/apex_*")


@pytest.fixture(name="board")
def _board(tmp_path) -> Board:
    """A system with nothing in it."""
    return Board(root=tmp_path / "root")


def plug_in(board: Board, name: str = "18d1:9302") -> None:
    """A stick on bus 2, number 7."""
    folder = board.place("/sys/bus/usb/devices/2-1")
    folder.mkdir(parents=True)
    vendor, product = name.split(":")
    for file, text in {"idVendor": vendor, "idProduct": product, "busnum": "2", "devnum": "7"}.items():
        (folder / file).write_text(f"{text}\n")
    node = board.place("/dev/bus/usb/002/007")
    node.parent.mkdir(parents=True)
    node.touch()


def spec(library, *devices: DeviceNode, **more) -> DelegateSpec:
    """A delegate with this library."""
    return DelegateSpec("test", (str(library),), devices=devices, **more)


def test_a_delegate_with_everything_may_be_tried(board, library):
    """Its library is named with its sha256, by which results are remembered."""
    plug_in(board)

    verdict = check_delegate(spec(library(), STICK, CARD), (), board)

    assert (verdict.code, verdict.library) == ("untried", str(library()))
    assert len(verdict.library_sha256) == 64


@pytest.mark.parametrize("name", ["/" + "x" * 5000, "x" * 5000, "/a\0b", "~nobody-of-this-name/x.so"])
def test_a_path_that_no_file_can_have(board, name):
    """It is missing as any other is, whatever the system says when it is asked for such a file."""
    assert check_delegate(DelegateSpec("test", (name,)), (), board).code == "library-missing"


def test_a_path_from_here_is_made_absolute(board, library, tmp_path, monkeypatch):
    """The loader takes a name without a slash for one of its own folders, and the engine may run elsewhere."""
    (tmp_path / "x.so").write_bytes(library().read_bytes())
    monkeypatch.chdir(tmp_path)

    verdict = check_delegate(DelegateSpec("test", ("./x.so",)), (), board)

    assert (verdict.code, verdict.library) == ("untried", str(tmp_path / "x.so"))


def test_a_pipe_in_place_of_a_library(board, tmp_path):
    """It is not waited for."""
    os.mkfifo(tmp_path / "lib.so")

    verdict = check_delegate(spec(tmp_path / "lib.so"), (), board)

    assert verdict.code == "not-a-library"
    assert verdict.detail == f"{tmp_path / 'lib.so'}: it is no regular file"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_library_that_may_not_be_looked_at(board, tmp_path):
    """The folder it is in is closed to this user: that is said, and that it is there is not denied."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        verdict = check_delegate(spec(closed / "lib.so"), (), board)
    finally:
        closed.chmod(0o700)

    assert (verdict.code, verdict.detail) == ("not-a-library", f"{closed / 'lib.so'}: Permission denied")


def test_a_library_that_is_nowhere(board):
    """All places are named, and what the plugin advises."""
    missing = DelegateSpec("test", ("libedgetpu.so.1", "/opt/x.so"), advice="install libedgetpu1-std")

    verdict = check_delegate(missing, (), board)

    assert verdict.code == "library-missing"
    assert verdict.detail == "no libedgetpu.so.1 or /opt/x.so; install libedgetpu1-std"


@pytest.mark.parametrize("folder", ["/usr/lib", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"])
def test_a_library_is_found_by_its_name(board, library, folder):
    """Where the system's loader would find it: usual places, and those it is configured for."""
    place = board.place(folder)
    place.mkdir(parents=True)
    shutil.copy(library(), place / "libtest.so.1")
    configured = board.place("/etc/ld.so.conf.d")
    configured.mkdir(parents=True)
    (configured / "aarch64-linux-gnu.conf").write_text("# multiarch\n/usr/lib/aarch64-linux-gnu\n")

    verdict = check_delegate(DelegateSpec("test", ("libtest.so.1",)), (), board)

    assert verdict.code == "untried"
    assert verdict.library == str(place / "libtest.so.1")


def test_the_first_library_that_fits_is_taken(board, library, tmp_path):
    """One that does not is passed over; without another one it is the reason."""
    wrong = tmp_path / "wrong.so"
    wrong.write_text("this is not a library")

    both = DelegateSpec("test", (str(wrong), str(library())))
    assert check_delegate(both, (), board).library == str(library())
    assert check_delegate(spec(wrong), (), board).code == "not-a-library"


def test_a_library_for_another_processor(board, library, tmp_path):
    """It is told for which one it is, and what this is."""
    foreign = tmp_path / "foreign.so"
    data = bytearray(library().read_bytes())
    (machine,) = struct.unpack_from("<H", data, 18)
    struct.pack_into("<H", data, 18, 183 if machine == 62 else 62)
    foreign.write_bytes(data)

    verdict = check_delegate(spec(foreign), (), board)

    assert verdict.code == "wrong-architecture"
    assert "foreign.so is for " in verdict.detail


def test_a_library_that_is_no_delegate(board, library):
    """What it lacks is named."""
    verdict = check_delegate(spec(library("WITHOUT_CREATE")), (), board)

    assert verdict.code == "symbol-missing"
    assert verdict.detail.endswith("has no tflite_plugin_create_delegate")


def test_a_device_that_is_not_there(board, library):
    """One of several would do; without any, all are named."""
    wanted = spec(library(), STICK, CARD)

    verdict = check_delegate(wanted, (), board)
    assert (verdict.code, verdict.detail) == (
        "device-missing",
        "no USB 18d1:9302 or 1a6e:089a or /dev/apex_*",
    )

    board.place("/dev").mkdir(parents=True)
    board.place("/dev/apex_0").touch()
    assert check_delegate(wanted, (), board).code == "untried"


def test_another_stick_is_not_the_device(board, library):
    """Vendor and product both count."""
    plug_in(board, "18d1:4ee7")

    assert check_delegate(spec(library(), STICK), (), board).code == "device-missing"


class ForOthers(Board):
    """A system on which devices belong to somebody else, also when these tests are root's."""

    def may_use(self, node):
        """By the rights of others, as they stand on the file."""
        return node.stat().st_mode & 0o006 == 0o006


def test_a_device_that_is_forbidden(board, library):
    """A node without rights is there and of no use."""
    plug_in(board)
    board = ForOthers(root=board.root)
    node = board.place("/dev/bus/usb/002/007")

    node.chmod(0o660)
    verdict = check_delegate(spec(library(), STICK), (), board)
    assert (verdict.code, verdict.detail) == (
        "device-forbidden",
        f"{node} cannot be read and written to by this user",
    )
    node.chmod(0o666)
    assert check_delegate(spec(library(), STICK), (), board).code == "untried"


def test_a_model_that_is_not_for_it(board, library):
    """A delegate for compiled models is not tried with others."""
    wanted = spec(library(), custom_ops=("edgetpu-custom-op",))

    assert check_delegate(wanted, (), board).code == "model-not-accepted"
    assert check_delegate(wanted, ("edgetpu-custom-op",), board).code == "untried"


def test_the_cpu_needs_nothing_but_a_model_of_its_own(board):
    """It cannot run what was compiled for something else."""
    assert check_delegate(DelegateSpec("cpu"), (), board).code == "untried"
    assert check_delegate(DelegateSpec("cpu"), ("edgetpu-custom-op",), board).code == "model-not-accepted"
