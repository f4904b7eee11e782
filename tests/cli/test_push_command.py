"""`robustgames push`: what is published, its card, and wrong input; nothing leaves this machine."""

import shutil

import pytest
import yaml
from in_process import command, in_an_empty_folder, only_run  # noqa: F401 (a fixture)


@pytest.fixture
def run(tmp_path):
    assert command("train gda robustgames/Quadratic-v0 --steps 40 --runs 2 --out runs") == 0
    return only_run(tmp_path / "runs")


def test_a_dry_run_prints_the_files_and_the_card(run, capsys):
    capsys.readouterr()
    assert command(f"push {run} me/saddle --dry-run") == 0
    printed = capsys.readouterr().out
    for name in ("README.md", "config.yaml", "checkpoint.safetensors", "result.json", "figures/"):
        assert name in printed
    assert "progress.csv" not in printed and "events.out" not in printed
    head = yaml.safe_load(printed.partition("---\n")[2].partition("---\n")[0])
    assert head["library_name"] == "robustgames" and "gda" in head["tags"]
    assert "robustgames train gda robustgames/Quadratic-v0 --lr 0.1 --steps 40 --runs 2 --seed 0" in printed
    assert "| residual |" in printed and "hub" not in printed.lower().replace("github", "")


def test_what_is_uploaded_can_be_evaluated(run, monkeypatch, tmp_path, capsys):
    hub = pytest.importorskip("huggingface_hub")
    calls = []

    def create(self, name, **settings):
        calls.append((name, settings))
        return f"https://hub/{name}"

    def upload(self, repo_id, folder_path, **_):
        shutil.copytree(folder_path, tmp_path / "hub" / repo_id)

    monkeypatch.setattr(hub.HfApi, "create_repo", create)
    monkeypatch.setattr(hub.HfApi, "upload_folder", upload)
    assert command(f"push {run} me/saddle --private") == 0
    assert calls == [("me/saddle", {"private": True, "exist_ok": True})]
    assert "published    https://hub/me/saddle" in capsys.readouterr().out
    assert command("evaluate hub/me/saddle") == 0
    files = {path.suffix for path in (tmp_path / "hub").rglob("*") if path.is_file()}
    assert files <= {".md", ".yaml", ".json", ".safetensors", ".png", ".lock", ""}


@pytest.mark.parametrize(
    ("words", "said"),
    [("{run} saddle", "is not owner/name"), ("nowhere me/x", "has no result"), ("{run}", "is missing")],
)
def test_bad_input_is_one_line(run, words, said, capsys):
    capsys.readouterr()
    assert command(f"push {words.format(run=run)}") == 2
    printed = capsys.readouterr().err.strip()
    assert said in printed and "\n" not in printed


def test_without_a_login_it_says_how_to(run, monkeypatch, capsys):
    hub = pytest.importorskip("huggingface_hub")

    def refuse(*_, **__):
        raise hub.errors.LocalTokenNotFoundError("Token is required")

    monkeypatch.setattr(hub.HfApi, "create_repo", refuse)
    assert command(f"push {run} me/saddle") == 2
    assert "me/saddle is not published: Token is required; log in with" in capsys.readouterr().err
