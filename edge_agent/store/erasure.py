"""This is where the database is asked what would be left of a sample, and cleared of what speaks of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from edge_agent.store.database import Database

_SEQUENCE_BITS = 40  # of a key of features; the extractor is above them, see `rows.features_id`


def stored_features(database: Database, digests: Collection[str]) -> dict[str, list[bytes]]:
    """The encoded features of these samples, by digest, one row an extractor; none that another sample has too."""
    wanted = {bytes.fromhex(digest) for digest in digests}
    with database.reading() as connection:
        owners = {
            sequence: digest.hex()
            for sequence, digest in connection.execute("SELECT sequence, digest FROM samples")
            if digest in wanted
        }
        found: dict[str, list[bytes]] = {digest: [] for digest in owners.values()}
        others: set[int] = set()
        for key, data in connection.execute("SELECT id, data FROM features"):
            owner = owners.get(key & ((1 << _SEQUENCE_BITS) - 1))
            if owner is None:
                others.add(hash(data))
            else:
                found[owner].append(data)
    return {digest: [row for row in rows if hash(row) not in others] for digest, rows in found.items()}


def silence_journal(database: Database, texts: Iterable[str]) -> None:
    """Take the words out of every entry of the journal that names one of these; its figures stay."""
    with database.writing() as connection:
        connection.executemany(
            "UPDATE updates SET message = '' WHERE instr(message, ?)", [(text,) for text in texts]
        )
