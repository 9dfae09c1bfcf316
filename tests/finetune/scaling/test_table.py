import pytest

from intarsia.errors import DataError, InputError, UnknownNameError
from intarsia.finetune.scaling import Run, RunTable

CSV = """N,R,D,alpha,seed,dataset,miub,ce
22000000,2,3200,16,0,sst,0.23,0.44
22000000,8,3200,16,0,sst,0.21,0.45
"""


def write(tmp_path, text, name="runs.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_csv_is_read_with_policy_and_scale_filled_in(tmp_path):
    table = RunTable.read(write(tmp_path, CSV))
    assert [run.R for run in table.runs] == [2, 8]
    assert [run.scale for run in table.runs] == [8, 2]
    assert table.policies == ["fixed"]
    assert table.metrics == ["miub", "ce"]
    assert table.values("ce") == [0.44, 0.45]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "json"])
def test_writing_and_reading_changes_nothing(tmp_path, suffix):
    table = RunTable(
        (
            Run(N=1e6, R=2, D=100, alpha=4, policy="proportional", seed=3, dataset="a, b", metrics={"miub": 0.1}),
            Run(N=1e6, R=4, D=100, alpha=8, policy="proportional", metrics={"miub": 1 / 3, "ce": 2.0}, scale=4),
        )
    )
    table.write(tmp_path / f"runs.{suffix}")
    assert RunTable.read(tmp_path / f"runs.{suffix}") == table


def test_proportional_alpha_is_recognised(tmp_path):
    table = RunTable.read(write(tmp_path, CSV.replace("8,3200,16", "8,3200,64")))
    assert table.policies == ["proportional"]


def test_alpha_that_follows_neither_policy_is_mixed(tmp_path):
    path = write(tmp_path, CSV + "22000000,32,3200,20,0,sst,0.2,0.4\n22000000,64,3200,16,0,sst,0.2,0.4\n")
    with pytest.raises(DataError, match="mix alpha policies"):
        RunTable.read(path)


@pytest.mark.parametrize("column", ["N", "R", "D", "alpha"])
def test_a_missing_column_is_named(tmp_path, column):
    header, *rows = CSV.splitlines()
    path = write(tmp_path, "\n".join([header.replace(column, "x", 1), *rows]))
    with pytest.raises(DataError, match=f"missing columns: {column}\n.*runs.csv"):
        RunTable.read(path)


def test_a_word_where_a_number_should_be_names_line_and_field(tmp_path):
    path = write(tmp_path, CSV.replace("0.45", "low"))
    with pytest.raises(DataError, match=r"'low' is no number\n.*runs.csv, line 3, field 'ce'"):
        RunTable.read(path)


@pytest.mark.parametrize("value", ["0", "-2", "nan"])
@pytest.mark.parametrize(("column", "old"), [("N", "22000000,8"), ("R", "8,3200"), ("D", "3200,16,0,sst,0.21")])
def test_non_positive_axes_are_refused(tmp_path, column, old, value):
    path = write(tmp_path, CSV.replace(old, ",".join([value, *old.split(",")[1:]])))
    with pytest.raises(DataError, match=rf"{column} is .*positive\n.*line 3"):
        RunTable.read(path)


def test_the_same_cell_twice_without_seeds_is_refused(tmp_path):
    text = "N,R,D,alpha,miub\n1,2,3,16,0.5\n1,2,3,16,0.6\n"
    with pytest.raises(InputError, match=r"no seed column[\s\S]*add a column `seed`"):
        RunTable.read(write(tmp_path, text))


def test_the_same_run_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="the same run"):
        RunTable.read(write(tmp_path, CSV + CSV.splitlines()[1] + "\n"))


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="not found"):
        RunTable.read(tmp_path / "none.csv")
    with pytest.raises(InputError, match="ends in"):
        RunTable.read(write(tmp_path, CSV, "runs.txt"))
    with pytest.raises(InputError, match="list `runs`"):
        RunTable.read(write(tmp_path, "[1, 2]", "runs.json"))
    with pytest.raises(DataError, match="no rows"):
        RunTable.read(write(tmp_path, "N,R,D,alpha\n"))


def test_an_unknown_dataset_suggests_near_names(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'sst'"):
        RunTable.read(write(tmp_path, CSV)).where(dataset="sts")
