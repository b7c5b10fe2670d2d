"""jsforce's suites query, sobject, schema, connection-crud and connection-meta. They need npm; node 22 comes with it."""

from __future__ import annotations

import json
import os

from tests.client_suites.suite import Report, RunningSuite

SUITES = ("query.test", "sobject.test", "schema.test", "connection-crud.test", "connection-meta.test")
NODE = ("node@22",)
# What the suites and jsforce itself need, without linters, bundlers and browsers.
TOOLS = (
    *("jest@29", "@babel/cli@7", "@babel/core@7", "@babel/preset-env@7", "@babel/preset-typescript@7"),
    *("@babel/plugin-transform-runtime@7", "@babel/runtime@7", "babel-preset-power-assert@3", "power-assert@1"),
    "through2@3",
)
EXPLAINED = {
    r"bulk (insert|delete) from file": "the suite's CSV files name fields of its authors' own org",
    r"invalid session conn with refresh fn": "it logs in by user name and password over SOAP",
    r"layout": "the local org has no layouts (/describe/layouts is NOT_FOUND)",
    r"list ?view": "the local org has no list views",
    r"should search records": "the local org has no search (SOSL)",
    r"tabs|theme": "the local org has no tabs and themes",
}


def run(suite: RunningSuite) -> Report:
    """Install what is missing, build jsforce, run the suites."""
    suite.copy(without=("node_modules", "docs", "website"))
    source, tools = suite.folder / "source", suite.folder / "tools"
    node = tools / "node_modules" / "node" / "bin"
    path = f"{node}{os.pathsep}{os.environ['PATH']}"
    dependencies = json.loads((source / "package.json").read_text())["dependencies"]
    wanted = [*TOOLS, *(f"{name}@{version}" for name, version in dependencies.items())]
    record = suite.folder / ".installed"
    if not record.exists() or record.read_text() != "\n".join(wanted):
        _install(suite, wanted)
        record.write_text("\n".join(wanted))
    modules = suite.folder / "packages" / "node_modules"
    link = source / "node_modules"
    if not link.exists():
        link.symlink_to(modules, target_is_directory=True)
    build = ["node", str(modules / ".bin" / "babel"), "src", "--extensions", ".ts", "--out-dir", "lib"]
    suite.prepare(build, source, PATH=path, BABEL_ENV="test")
    report = suite.folder / "report.json"
    report.unlink(missing_ok=True)
    jest = ["node", str(modules / "jest" / "bin" / "jest.js"), "--forceExit", "--runInBand", "--json"]
    org = {"SF_LOGIN_URL": suite.server.url, "SF_ACCESS_TOKEN": suite.token(), "NODE_EXTRA_CA_CERTS": suite.authority}
    done = suite.run([*jest, "--outputFile", str(report), *SUITES], source, PATH=path, **org)
    if not report.exists():
        raise RuntimeError(f"jest did not run:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return _report(json.loads(report.read_text()))


def _install(suite: RunningSuite, wanted: list[str]) -> None:
    quiet = ("--silent", "--no-audit", "--no-fund", "--no-package-lock")
    for name, packages, more in (("tools", NODE, ()), ("packages", wanted, ("--ignore-scripts",))):
        folder = suite.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        suite.prepare(["npm", "install", *quiet, *more, "--prefix", str(folder), *packages], folder)


def _report(told: dict[str, list[dict[str, list[dict[str, str]]]]]) -> Report:
    outcomes: dict[str, list[str]] = {"passed": [], "failed": [], "pending": []}
    for file in told["testResults"]:
        own = str(file["name"]).rpartition("/")[2].partition(".")[0]
        for test in file["assertionResults"]:
            outcomes.setdefault(test["status"], []).append(f"{own}: {test['fullName']}")
    return Report("jsforce", outcomes["passed"], outcomes["failed"], outcomes["pending"], EXPLAINED)
