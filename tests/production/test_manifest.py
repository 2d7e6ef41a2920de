"""The manifest survives odd names, edits and kills; batches stay as they were cut."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foleygram.production.manifest import DONE, FAILED, TODO, Manifest, Row
from foleygram.production.plan import cut_batches


def rows(windows, state=TODO):
    return [Row(f"n{i}", f"/v/n{i}.mp4", state, windows=count) for i, count in enumerate(windows)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 16), st.integers(0, 5))
def test_batches_are_filled_in_order(windows, size, first):
    cut = cut_batches(rows(windows), size, first=first)
    numbers = [row.batch for row in cut]
    assert numbers == sorted(numbers) and set(numbers) == set(range(first, max(numbers) + 1))
    for number in set(numbers):
        filled = [row.windows for row in cut if row.batch == number]
        assert sum(filled) <= size or len(filled) == 1
        following = [row.windows for row in cut if row.batch == number + 1]
        assert not following or sum(filled) + following[0] > size  # no batch ends early


def test_failed_rows_are_in_no_batch():
    some = rows([1, 1, 1])
    some[1] = replace(some[1], state=FAILED)
    assert [row.batch for row in cut_batches(some, 2, first=7)] == [7, -1, 7]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(name=TEXT, reason=TEXT)
@settings(max_examples=30)
def test_rows_survive_a_round_trip(tmp_path_factory, name, reason):
    manifest = Manifest(tmp_path_factory.mktemp("m"))
    row = Row(name, f"/v/{name}", DONE, reason, 3, 1.25, 4, 1, written=(name, 'b;c,"d'))
    manifest.rows[name] = row
    manifest.begin()
    manifest.record(replace(row, batch=4), rank=1)
    assert Manifest(manifest.out).rows[name] == replace(row, batch=4)
    manifest.finish()
    assert Manifest(manifest.out).rows == {name: replace(row, batch=4)}


def test_a_line_cut_short_by_a_kill_is_ignored(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.rows.update({row.name: row for row in rows([1, 1])})
    manifest.begin()
    (manifest.work / "half written").mkdir()
    for row in list(manifest.rows.values()):
        manifest.record(replace(row, state=DONE), rank=0)
    journal = manifest.work / "journal-0.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    again = Manifest(tmp_path)
    assert [row.state for row in again.rows.values()] == [DONE, TODO]
    again.begin()
    assert [path.name for path in again.work.iterdir()] == []
    assert [row.state for row in Manifest(tmp_path).rows.values()] == [DONE, TODO]


def test_batches_keep_finished_rows_in_their_slots(tmp_path):
    manifest = Manifest(tmp_path)
    cut = cut_batches(rows([1, 1, 1, 1, 1]), 2, first=0)
    cut[0], cut[2], cut[3] = (replace(cut[i], state=DONE) for i in (0, 2, 3))
    manifest.rows.update({row.name: row for row in cut})
    assert [[row.name for row in batch] for batch in manifest.batches(manifest.rows)] == [["n0", "n1"], ["n4"]]
    assert manifest.batches(["n0", "n2"]) == []


def test_a_row_is_done_if_its_files_exist(tmp_path):
    row = Row("a", "/v/a.mp4", DONE, written=("a.wav",))
    manifest = Manifest(tmp_path)
    assert not manifest.is_done(row)
    (tmp_path / "a.wav").write_bytes(b"")
    assert manifest.is_done(row) and not manifest.is_done(replace(row, state=FAILED))


def test_a_manifest_without_the_column_deviations_is_read(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.rows["a"] = Row("a", "/v/a.mp4", DONE, deviations=("it is 8 dB below",))
    manifest.begin()
    assert Manifest(tmp_path).rows == manifest.rows
    columns, *lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert columns.endswith(",deviations")
    shorter = [line.rsplit(',"[', 1)[0] for line in lines]
    (tmp_path / "manifest.csv").write_text("\n".join([columns.removesuffix(",deviations"), *shorter, ""]))
    assert Manifest(tmp_path).rows["a"] == replace(manifest.rows["a"], deviations=())


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "name,file\nx,y\n"])
def test_a_table_that_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.csv: not a manifest of foleygram"):
        Manifest(tmp_path)
