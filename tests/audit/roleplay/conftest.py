"""A small data set without an encoder, and scripted models."""

import pytest

from intarsia.audit.roleplay import BuildConfig, RoleQueries, WordEncoder, build_queries, built_in_roles
from intarsia.evals import run

BUILD = BuildConfig(multi_domain=2, omission=1, base=1)


@pytest.fixture(scope="session")
def data() -> RoleQueries:
    return run(build_queries(built_in_roles(4), BUILD, encoder=WordEncoder()))
