"""What the pages on deployment say that can be tried: names of Secrets, values to copy, commands of the pods."""

import re
from typing import Any

import pytest
import yaml

from tests.deploy.test_gitops import needed_secrets
from tests.support.chart import ROOT, WORKLOADS, render

PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs" / "deploy").glob("*.md"))}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


def test_the_external_secrets_are_those_that_prod_names():
    documents: list[dict[str, Any]] = [item for block in blocks("secrets.md", "yaml") for item in yaml.safe_load_all(block)]
    assert {item["spec"]["target"]["name"] for item in documents} == set(needed_secrets("prod"))
    assert all(item["metadata"]["name"] == item["spec"]["target"]["name"] for item in documents)


def test_the_table_of_secrets_has_every_key():
    rows = dict(re.findall(r"^\| `(feature-platform-\w+)` \| ([^|]+) \|", PAGES["secrets.md"], flags=re.MULTILINE))
    told = {name: set(re.findall(r"`([^`]+)`", keys)) for name, keys in rows.items()}
    for name in ("dev", "prod"):
        for secret, keys in needed_secrets(name).items():
            assert told[secret] == keys


def test_the_ingress_to_copy_renders():
    (example,) = (yaml.safe_load(block) for block in blocks("security.md", "yaml"))
    flat = {f"{section}.{name}": value for section, values in example.items() for name, value in values.items()}
    ingress = render("dev", flat).find("Ingress", "webserver")
    assert ingress["metadata"]["annotations"]["feature-platform/authentication"] == "oauth2-proxy, group data-platform"
    assert ingress["spec"]["tls"] == [{"hosts": ["dagster.example.com"], "secretName": "dagster-tls"}]


@pytest.mark.parametrize("page", sorted(PAGES))
def test_commands_name_workloads_that_exist(page):
    names = {item["metadata"]["name"].removeprefix("fp-feature-platform-") for item in render("local").objects if item["kind"] in WORKLOADS}
    assert set(re.findall(r"deployment/NAME-([a-z-]+)", PAGES[page])) <= names
    assert set(re.findall(r"NAME-([a-z0-9]+)-0", PAGES[page])) <= names


def test_the_claims_that_an_uninstall_leaves_are_named():
    claims = {
        f"data-NAME-{item['metadata']['labels']['app.kubernetes.io/component']}-0"
        for item in render("local").objects
        if item["kind"] == "StatefulSet"
    }
    assert {claim for claim in claims if f"`{claim}`" in PAGES["upgrades.md"]} == claims


def test_the_accounts_of_the_table_are_the_charts():
    told = set(re.findall(r"^\| `([a-z-]+)` \|[^|]*\|[^|]*\|[^|]*\|[^|]*\|$", PAGES["security.md"], flags=re.MULTILINE))
    accounts = {
        item["metadata"]["name"].removeprefix("fp-feature-platform-") for item in render("prod").objects if item["kind"] == "ServiceAccount"
    }
    assert told == accounts - {"pre-jobs"}
    assert "`pre-jobs`" in PAGES["security.md"]
