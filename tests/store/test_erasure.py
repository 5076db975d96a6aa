"""What would be left of a sample in the database, and what clears it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_agent.store.erasure import silence_journal, stored_features
from edge_agent.store.samples import SampleStore


def test_features_are_found_by_digest(tmp_path, new_sample):
    """One row for each extractor; what another sample has too, byte for byte, is nobody's."""
    with SampleStore(tmp_path / "agent.db") as store:
        one, two, three = (new_sample(i) for i in range(3))
        store.add([one, two, three], "first")
        store.put_features(one.digest, "second", two.features)
        found = stored_features(store.database, [one.digest, two.digest])
        assert [len(found[one.digest]), len(found[two.digest])] == [2, 1]

        store.put_features(three.digest, "second", one.features)
        assert [len(rows) for rows in stored_features(store.database, [one.digest]).values()] == [0]


def test_the_journal_keeps_its_figures_and_no_names(tmp_path):
    """Only what names one of the texts loses its words."""
    with SampleStore(tmp_path / "agent.db") as store:
        for message in ("it also knows fox", "as good as before"):
            store.record_update(state="published", version=1, samples=4, seconds=0.1, message=message)
        silence_journal(store.database, ["fox", "p1.jpg"])
        with store.database.reading() as connection:
            rows = connection.execute("SELECT samples, message FROM updates ORDER BY id").fetchall()

    assert rows == [(4, ""), (4, "as good as before")]


def test_old_copies_between_the_rows_go_when_the_file_is_rewritten(tmp_path, new_sample):
    """Rows that were moved from page to page leave copies behind, which deleting the rows does not reach."""
    for seed in range(4):
        path = tmp_path / f"{seed}.db"
        random = np.random.default_rng(seed)
        with SampleStore(path) as store:
            samples = [
                replace(new_sample(i, n_features=8), label=f"l{i % 7}", source_name=f"n{i}", stored_path="")
                for i in range(300)
            ]
            store.add(samples, "fp")
            with store._editing() as edit:
                for sample in samples * 4:
                    edit.set_stored_path(edit.require(sample.digest), "x" * int(random.integers(0, 400)))
            doomed = samples[::2]
            store.remove_all([sample.digest for sample in doomed])
            store.database.rewrite()
            after = path.read_bytes() + path.with_name(f"{seed}.db-wal").read_bytes()
            assert store.count() == 150

        assert not any(bytes.fromhex(sample.digest) in after for sample in doomed)
