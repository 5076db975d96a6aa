"""What is read of a board, from files as Linux writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_agent.agent.board import FIND_SECONDS, Board
from edge_agent.testing import FakeClock

NOON = 1_780_000_000.0


class Files:
    """A `sys` and a `proc` of our own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = FakeClock()
        self.wall = FakeClock(NOON)
        self.board = Board(root, root, monotonic=self.clock, wall=self.wall)

    def put(self, path: str, text: str) -> None:
        """Write one file of a driver."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{text}\n")

    def zone(self, number: int, kind: str, millidegrees: object) -> None:
        """A sensor of heat."""
        self.put(f"sys/class/thermal/thermal_zone{number}/type", kind)
        self.put(f"sys/class/thermal/thermal_zone{number}/temp", str(millidegrees))

    def supply(self, name: str, **facts: str) -> None:
        """A battery or an adapter."""
        for fact, value in facts.items():
            self.put(f"sys/class/power_supply/{name}/{fact}", value)

    def reading(self):
        """How the board is later, when a sensor that was added has been found."""
        self.clock.advance(FIND_SECONDS)
        return self.board.reading()


@pytest.fixture
def files(tmp_path):
    """A board that says nothing yet."""
    return Files(tmp_path)


def test_a_board_that_says_nothing(files):
    """Without sensors, firmware, batteries and the files of `proc` only disk and clock are known; nothing is raised."""
    reading = files.reading()

    assert (reading.celsius, reading.throttled, reading.load) == (None, "", None)
    assert (reading.free_memory_mb, reading.on_battery) == (None, None)
    assert reading.free_disk_mb > 0
    assert 0 <= reading.minute < 24 * 60


def test_this_machine_is_read():
    """The files of the running kernel give memory and load."""
    reading = Board(Path.cwd()).reading()

    assert reading.free_memory_mb > 0
    assert reading.load >= 0


def test_the_hottest_part_of_the_processor_counts(files):
    """Zones of the processor, or whatever zones there are; sensors that are off are passed over."""
    files.zone(0, "battery", 91_000)
    assert files.reading().celsius == 91.0

    files.zone(1, "cpu-thermal", 52_100)
    files.zone(2, "soc-thermal", 54_500)
    files.zone(3, "cpu1-thermal", -274_000)
    files.zone(4, "cpu2-thermal", "")
    assert files.reading().celsius == 54.5


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        ("0", ""),
        ("50000", ""),
        ("50005", "too little voltage and slowed down"),
        ("80008", "slowed down for its heat"),
        ("nonsense", ""),
    ],
)
def test_what_the_firmware_reports_now(files, bits, expected):
    """Only the bits about now count, hexadecimal as the driver writes them."""
    files.put("sys/devices/platform/soc/soc:firmware/get_throttled", bits)

    assert files.reading().throttled == expected


def test_low_voltage_by_its_alarm(files):
    """Newer kernels raise an alarm of a voltage sensor instead."""
    files.put("sys/class/hwmon/hwmon0/name", "cpu_thermal")
    files.put("sys/class/hwmon/hwmon0/in0_lcrit_alarm", "1")
    files.put("sys/class/hwmon/hwmon1/name", "rpi_volt")
    files.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0")
    assert files.reading().throttled == ""

    files.put("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1")
    assert files.reading().throttled == "too little voltage"


def test_batteries_and_adapters(files):
    """A battery that discharges, or an adapter that is out; a mouse's battery is none of the board's."""
    files.supply("hidpp_battery_0", type="Battery", scope="Device", status="Discharging")
    files.supply("ADP1", type="Mains", online="0")
    assert files.reading().on_battery is None

    files.supply("BAT0", type="Battery", status="Full", present="1")
    assert files.reading().on_battery is True

    files.supply("ADP1", type="Mains", online="1")
    assert files.reading().on_battery is False

    files.supply("BAT0", status="Discharging")
    assert files.reading().on_battery is True

    files.supply("BAT0", present="0")
    assert files.reading().on_battery is None


def test_memory_and_load(files, monkeypatch):
    """What programs could still have, and the load of a minute by core."""
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    files.put("proc/meminfo", "MemTotal:  1000000 kB\nMemAvailable:   51200 kB")
    files.put("proc/loadavg", "3.00 2.00 1.00 1/200 4711")

    reading = files.reading()

    assert (reading.free_memory_mb, reading.load) == (50.0, 0.75)


def test_a_clock_that_is_not_set(files):
    """In 1970 there is no time of day, nor in a year that no calendar has."""
    for moment in (1000.0, 1e18):
        files.wall.now = moment
        assert files.reading().minute is None


def test_a_reading_is_good_for_a_second(files):
    """Files are read again after that, and not before."""
    files.zone(0, "cpu-thermal", 50_000)
    assert files.reading().celsius == 50.0

    files.zone(0, "cpu-thermal", 60_000)
    files.clock.advance(0.9)
    assert files.board.reading().celsius == 50.0
    files.clock.advance(0.2)
    assert files.board.reading().celsius == 60.0


def test_where_the_files_are_is_looked_for_seldom(files):
    """A sensor that is plugged in is found ten minutes later; until then only the files that were found are read."""
    files.zone(0, "cpu-thermal", 50_000)
    assert files.reading().celsius == 50.0

    files.zone(1, "soc-thermal", 60_000)
    files.clock.advance(FIND_SECONDS / 2)
    assert files.board.reading().celsius == 50.0
    files.clock.advance(FIND_SECONDS / 2)
    assert files.board.reading().celsius == 60.0
