"""Records on a chain: a contract of one's own, files through it, and everything found again, with a real anvil."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import dstore
import pytest
from anvil import ETHER, Anvil
from conftest import Call, Servers, noise

pytest_plugins = ["anvil"]


class Place:
    """An owner with ether, and a contract."""

    def __init__(self, anvil: Anvil, call: Call, **options: Any) -> None:
        self.owner = anvil.rich_owner()
        self.account = anvil.account(self.owner, **options)
        self.deployment: dstore.Deployment = call(self.account.deploy)
        self.ledger = self.account.ledger(self.deployment.contract)


@pytest.fixture
def place(anvil: Anvil, call: Call) -> Place:
    return Place(anvil, call)


def test_a_contract_is_deployed_and_tells_about_itself(call: Call, anvil: Anvil) -> None:
    owner = anvil.rich_owner()
    account = anvil.account(owner)
    assert account.address == f"0x{owner.id}"
    assert repr(account) == f"<dstore.EthereumAccount 0x{owner.id} on local (31337)>"
    assert call(account.balance) == 100 * ETHER
    cost = call(account.deploy_cost)
    assert 0 < cost.wei <= cost.max_wei
    assert cost.gas > 21_000
    deployment = call(account.deploy)
    assert re.fullmatch("0x[0-9a-f]{40}", deployment.contract)
    assert re.fullmatch("0x[0-9a-f]{64}", deployment.tx)
    assert (deployment.chain_id, deployment.block > 0) == (31337, True)
    assert call(account.balance) == 100 * ETHER - deployment.wei
    ledger = account.ledger(deployment.contract)
    contract = call(ledger.contract)
    assert (contract.contract, contract.chain_id) == (deployment.contract, 31337)
    assert (contract.code_hash, contract.writes) == (deployment.code_hash, 0)
    assert contract.head >= deployment.block
    [(host, head, problem)] = contract.providers
    assert host in anvil.url
    assert head == contract.head
    assert problem is None
    same = dstore.EthereumLedger(owner, deployment.contract, chain="local", rpc_url=[anvil.url])
    assert same.id == ledger.id
    assert re.fullmatch("[0-9a-f]{64}", ledger.id)
    assert deployment.contract[2:] in repr(ledger)


def test_files_on_a_chain_are_files_like_any_other(call: Call, servers: Servers, place: Place) -> None:
    content = noise(100_000)
    with call.within(servers.client(place.owner, place.ledger)) as client:
        preview = call(client.preview, "a", content)
        assert preview.cost is not None
        assert 0 < preview.cost.wei <= preview.cost.max_wei
        assert call(client.put, "a", content, mode="create").head.version == 1
        with pytest.raises(dstore.AlreadyExists):
            call(client.put, "a", b"", mode="create")
        assert call(client.put, "a", b"newer", if_version=1).head.version == 2
        with pytest.raises(dstore.VersionConflict):
            call(client.put, "a", b"", if_version=1)
        assert call(client.get("a").bytes) == b"newer"
        call(client.put, "gone", b"")
        call(client.remove, "gone")
        call(client.rename, "a", "b")
        assert [head.path for head in call.each(client.list())] == ["b"]
        assert [each.kind for each in call(client.history, "a")] == ["renamed_away", "put", "put"]
        assert [each.version for each in call(client.history, "b")] == [1]
    # A rename writes to both paths.
    assert call(place.ledger.contract).writes == 6


def test_a_fresh_client_with_the_key_alone_reads_and_recovers(
    call: Call, anvil: Anvil, servers: Servers, place: Place, tmp_path: Path
) -> None:
    with call.within(servers.client(place.owner, place.ledger)) as client:
        call(client.put, "a", noise(100_000), attributes={"k": "v"})
    again = dstore.EthereumLedger(place.owner, place.deployment.contract, chain="local", rpc_url=anvil.url)
    with call.within(servers.client(place.owner, again)) as client:
        assert call(client.get("a").bytes) == noise(100_000)
        found = call(client.recover)
    assert found.ledger_problem is None
    [ledger] = found.ledgers
    assert ledger.id == place.ledger.id
    [file] = ledger.files
    assert (file.head.path, file.head.attributes, file.is_readable) == ("a", {"k": "v"}, True)
    # What nodes keep of a ledger on a chain makes a local one.
    dstore.LocalLedger.restore(tmp_path / "ledger.db", place.owner, ledger.versions)
    with call.within(servers.client(place.owner, dstore.LocalLedger(tmp_path / "ledger.db"))) as client:
        assert call(client.get("a").bytes) == noise(100_000)


def test_many_puts_at_once_share_transactions(call: Call, anvil: Anvil, servers: Servers) -> None:
    if not call.is_async:
        pytest.skip("one caller waits for one put")
    import asyncio

    place = Place(anvil, call, batch_wait=0.5)
    sent = int(anvil.ask("eth_getTransactionCount", place.account.address, "latest"), 16)
    with call.within(servers.client(place.owner, place.ledger)) as client:

        async def put_all() -> None:
            await asyncio.gather(*(client.put_async(f"{number}", b"") for number in range(10)))

        call.run(put_all)
        assert len(call.each(client.list())) == 10
    now = int(anvil.ask("eth_getTransactionCount", place.account.address, "latest"), 16)
    assert now - sent < 10


def test_a_client_of_the_environment_finds_its_chain(
    call: Call, anvil: Anvil, servers: Servers, place: Place, tmp_path: Path
) -> None:
    place.owner.save(tmp_path / "owner.key")
    env = {
        "HOME": str(tmp_path),
        "DSTORE_DIR": str(tmp_path),
        "DSTORE_REGISTRY": servers.address,
        "DSTORE_LEDGER": "ethereum",
        "DSTORE_CHAIN": "local",
        "DSTORE_CONTRACT": place.deployment.contract,
        "ETH_RPC_URL": anvil.url,
    }
    with call.within(servers.client(place.owner, place.ledger)) as client:
        call(client.put, "a", b"content")
    with call.within(dstore.Client.from_env(env=env)) as client:
        assert call(client.get("a").bytes) == b"content"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ({"chain": "nowhere"}, {}),
        ({}, {"rpc_url": "nonsense"}),
        ({}, {"rpc_url": ["http://127.0.0.1:1"] * 9}),
        ({}, {"max_fee": "much"}),
        ({}, {"max_fee": -1.0}),
        ({}, {"confirmations": 0}),
        ({}, {"timeout": 0}),
        ({}, {"batch_wait": -1}),
        ({}, {"inclusion_timeout": float("nan")}),
    ],
)
def test_options_of_a_chain_that_cannot_be_are_value_errors(arguments: dict[str, Any], options: dict[str, Any]) -> None:
    settings = {"chain": "local", "rpc_url": "http://127.0.0.1:1", **arguments, **options}
    with pytest.raises(ValueError):
        dstore.EthereumAccount(dstore.Owner.generate(), **settings)
    with pytest.raises(ValueError):
        dstore.EthereumLedger(dstore.Owner.generate(), "0x" + "09" * 20, **settings)


def test_options_of_a_chain_have_names_and_types() -> None:
    owner = dstore.Owner.generate()
    account = dstore.EthereumAccount(owner, chain="local", rpc_url="http://127.0.0.1:1", max_fee=30.5)
    for contract in ("", "0x", "09" * 19, "0x" + "zz" * 20):
        with pytest.raises(dstore.ConfigError):
            account.ledger(contract)
    for options in ({"rpc": "x"}, {"rpc_url": 3}, {"confirmations": "2"}, {"max_fee": []}):
        with pytest.raises(TypeError, match=next(iter(options))):
            dstore.EthereumAccount(owner, chain="local", **options)


def test_a_chain_that_does_not_answer_is_unavailable(call: Call) -> None:
    account = dstore.EthereumAccount(dstore.Owner.generate(), chain="local", rpc_url="http://127.0.0.1:1", timeout=0.2)
    with pytest.raises(ConnectionError) as raised:
        call(account.balance)
    assert isinstance(raised.value, dstore.Unavailable)
    assert "127.0.0.1" in str(raised.value)
