"""Records of data sets on the Hugging Face hub, through `datasets`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from intarsia.data.formats import Record
from intarsia.errors import DataError, IntarsiaError


def hub_splits(id: str, config: str | None) -> list[str]:
    """Returns the names of the splits a hub data set has.

    Raises:
        DataError: If there is no such data set or configuration.
        IntarsiaError: If the hub cannot be reached.
    """
    import datasets

    with _explain(id):
        return datasets.get_dataset_split_names(id, config)


def read_hub_records(id: str, config: str | None, split: str, *, streaming: bool) -> Iterator[Record]:
    """Yields every record of one split of a hub data set, numbered from 1, class labels as their names.

    Args:
        id: Id of the data set.
        config: Its configuration, if it has several.
        split: The name the split has on the hub.
        streaming: Whether to read rows over the network as they are needed; otherwise the split is downloaded whole
            and kept in the cache of `datasets`.

    Raises:
        DataError: If there is no such data set, configuration or split.
        IntarsiaError: If the hub cannot be reached.
    """
    import datasets

    with _explain(id):
        rows = datasets.load_dataset(id, config, split=split, streaming=streaming)
    classes = {name: kind for name, kind in (rows.features or {}).items() if isinstance(kind, datasets.ClassLabel)}
    for number, record in enumerate(rows, start=1):
        # The hub writes -1 where a label is hidden.
        names = {name: kind.int2str(record[name]) if record[name] >= 0 else None for name, kind in classes.items()}
        yield number, {**record, **names}


@contextmanager
def _explain(id: str) -> Iterator[Any]:
    from datasets.exceptions import DatasetNotFoundError

    try:
        yield
    except DatasetNotFoundError as error:
        raise DataError(f"no such dataset on the hub, or it is private: {error}", file=id) from None
    except ValueError as error:
        # An unknown configuration or split is a ValueError that lists those there are.
        raise DataError(str(error), file=id) from None
    except OSError as error:
        raise IntarsiaError(
            f"the dataset could not be fetched: {error}",
            where=id,
            fix="connect to the hub once (what is fetched is kept), or save the rows as a file and pass its path",
        ) from error
