"""The model of failover under random walks: it holds without a fault, and finds each planted fault."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.examples import at_most
from tests.support.failover_model import Cluster, Server
from tests.support.failover_nodes import FIRST_ID, Fault, Nodes

FOUND = {
    Fault.UNGUARDED: "one place for two|lost",
    Fault.ASYNCHRONOUS: "lost",
    Fault.LAGGING: "lost",
    Fault.SAME_ID: "consumer has another log",
}
STEPS = 50
SEARCH = settings(
    max_examples=2_000,
    stateful_step_count=STEPS,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
)
both, nodes, some = st.integers(0, 1), st.integers(0, 2), st.integers(1, 3)
steps = st.sampled_from([Cluster.begin, Cluster.write, Cluster.cut, Cluster.send_again])


class Failover(RuleBasedStateMachine):
    """Rules that are not possible at the moment do nothing."""

    faults: ClassVar[Iterable[Fault]] = ()

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(self.faults)
        self.nodes, self.servers = self.cluster.nodes, self.cluster.servers

    @rule(server=both, step=steps)
    def step(self, server: int, step: Callable[[Cluster, Server], None]) -> None:
        step(self.cluster, self.servers[server])

    @rule(server=both, has_key=st.booleans(), many=some)
    def send(self, server: int, has_key: bool, many: int) -> None:
        for _ in range(many):
            self.cluster.send(self.servers[server], has_key=has_key)
        self.cluster.begin(self.servers[server])

    @rule(server=both, has_key=st.booleans(), many=some, standby=nodes)
    def record(self, server: int, has_key: bool, many: int, standby: int) -> None:
        self.send(server, has_key, many)
        self.cluster.write(self.servers[server])
        self.replicate(standby, many)

    @rule(server=both, consumer=both, many=some)
    def break_off(self, server: int, consumer: int, many: int) -> None:
        self.send(server, has_key=True, many=many)
        self.cluster.write(self.servers[server])
        self.cluster.cut(self.servers[server])
        self.read(consumer, server, many)

    @rule(consumer=both, server=both, most=some)
    def read(self, consumer: int, server: int, most: int) -> None:
        self.cluster.read(self.cluster.consumers[consumer], self.servers[server], most)

    @rule(node=nodes, most=some)
    def replicate(self, node: int, most: int) -> None:
        self.nodes.replicate(self.nodes.all[node], most)

    @precondition(lambda self: self.nodes.primary)
    @rule(dies=st.booleans(), at_once=st.booleans())
    def fail(self, dies: bool, at_once: bool) -> None:
        self.nodes.fail(dies=dies)
        if at_once:
            self.nodes.promote()

    @precondition(lambda self: self.nodes.away)
    @rule(node=nodes)
    def come_back(self, node: int) -> None:
        self.nodes.come_back(self.nodes.all[node])

    @rule(lead=st.sampled_from([Nodes.promote, Nodes.switch_over]))
    def lead(self, lead: Callable[[Nodes], None]) -> None:
        lead(self.nodes)

    @rule()
    def settle(self) -> None:
        self.cluster.settle()

    @invariant()
    def check(self) -> None:
        self.cluster.check()


@pytest.mark.parametrize("fault", Fault)
def test_model_finds_a_planted_fault(fault: Fault) -> None:
    class Planted(Failover):
        faults = (fault,)

    with pytest.raises(AssertionError, match=FOUND[fault]):
        run_state_machine_as_test(Planted, settings=SEARCH)


def test_model_without_a_fault_loses_and_doubles_nothing() -> None:
    run_state_machine_as_test(Failover, settings=at_most(600, stateful_step_count=STEPS))


def test_server_that_writes_before_it_checks_the_log_notices_that_the_log_went_back() -> None:
    walk = Failover()
    walk.break_off(0, 1, 1)  # the consumer has an event that is lost
    walk.fail(dies=True, at_once=True)
    walk.record(0, has_key=False, many=2, standby=2)
    walk.settle()
    assert walk.nodes.primary is not None
    assert walk.nodes.primary.now().log_id != FIRST_ID
