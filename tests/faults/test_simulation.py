"""The publishing protocols under simulated faults: no invariant falls, and every mutant does.

``FAULTS=full`` (``make faults``) runs a million schedules instead of two thousand.
"""

import os

import pytest

from tests.faults import simulation
from tests.faults.figures import record_figure
from tests.faults.mutants import CAMPAIGNS, MUTANTS
from tests.faults.simulated_store import InvariantError

pytestmark = pytest.mark.slow

SHARES = 8
TOTAL = 1_000_000 if os.environ.get("FAULTS") == "full" else 2_000
MUTANT_SCHEDULES = 5_000


def run_all(campaign, seeds):
    return sum(campaign(seed).steps for seed in seeds)


@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("campaign", [simulation.publishing, simulation.collecting], ids=lambda campaign: campaign.__name__)
def test_no_schedule_of_crashes_pauses_and_lost_answers_breaks_an_invariant(campaign, share):
    schedules = TOTAL // SHARES // 2
    steps = run_all(campaign, range(share * schedules, (share + 1) * schedules))
    assert steps > schedules
    record_figure(f"simulated schedules, {campaign.__name__}", tried=schedules, violations=0)


@pytest.mark.parametrize("name", MUTANTS)
def test_removing_any_one_rule_is_noticed(name):
    with MUTANTS[name](), pytest.raises(InvariantError):
        run_all(CAMPAIGNS[name], range(MUTANT_SCHEDULES))
    record_figure("mutants killed", tried=1, violations=0)


def test_the_same_seed_replays_the_same_schedule():
    first, second = simulation.publishing(7), simulation.publishing(7)
    assert (first.steps, first.log_bytes) == (second.steps, second.log_bytes)


def test_a_frozen_projection_survives_the_deletion_of_its_version_and_a_thawed_builder_in_its_place():
    """Found by a million schedules: the copy's source had become another builder's file under the spent id, and stopped the projection."""
    assert simulation.collecting(1_030_327).steps
