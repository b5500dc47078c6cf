"""The rules of the check: what each rests on, and the page that lists them."""

import json
import re

import pytest

from edgetpu_lib.commands.main import main
from edgetpu_lib.hardware import check, edge_tpu, evidence, findings, operator_rules
from edgetpu_lib.tflite import file as tflite_file

PAIRS = (
    "mobilenet_v1_0.25_128_quant",
    "deeplabv3_mnv2_dm05_pascal_quant",
    "split_concat",
)
CODE = re.compile(r'"([a-z]+(?:-[a-z0-9]+)+)"')


def test_every_rule_names_its_evidence():
    for rule in operator_rules.rules():
        assert rule.evidence, rule
        assert all(each.kind in evidence.KINDS for each in rule.evidence)
        assert all(each.source for each in rule.evidence)


def test_every_operator_that_is_known_has_evidence():
    known = [kind for rule in edge_tpu.SUPPORTED_RULES for kind in rule.kinds]
    assert len(known) == len(set(known))
    assert set(known) == set(edge_tpu.SUPPORTED)


def test_every_code_has_a_rule(repo_root):
    codes = {rule.code for rule in operator_rules.rules()}
    for name in ("findings", "operator_rules", "partition"):
        text = (repo_root / f"edgetpu_lib/hardware/{name}.py").read_text("utf-8")
        named = set(CODE.findall(text)) - {"edgetpu-custom-op"}
        assert named <= codes, name
    assert findings.Finding.__dataclass_fields__["evidence"]


def test_the_page_lists_the_rules(repo_root):
    """Regenerate docs/check_rules.md, below its heading, by `operator_rules.table`."""
    page = (repo_root / "docs/check_rules.md").read_text(encoding="utf-8")
    assert page.endswith("\n\n" + operator_rules.table())


def left_on_cpu(statuses, mapped):
    return sorted(kind for kind, word in statuses if word != mapped)


def test_the_page_counts_the_pairs_that_agree(shared, repo_root):
    agreeing = 0
    for name in PAIRS:
        report = check.check_tflite(shared(f"models/{name}.tflite"))
        compiled = tflite_file.read_tflite(shared(f"models/{name}_edgetpu.tflite"))
        left = [o.kind for o in compiled.operators]
        left.remove(check.COMPILED_OPERATOR)
        agreeing += left_on_cpu(report.statuses, edge_tpu.MAPPED) == sorted(left)
    page = (repo_root / "docs/hardware.md").read_text(encoding="utf-8")
    assert f"{agreeing} of {len(PAIRS)} pairs" in " ".join(page.split())


def test_rules_of_a_kind_name_it_alone():
    rules = operator_rules.rules_of({"TILE", "MEAN"})
    assert {rule.about for rule in rules} >= {"TILE", "MEAN"}
    assert all(set(rule.about.split()) <= {"TILE", "MEAN"} for rule in rules)


@pytest.mark.parametrize(("flag", "explained"), [([], False), (["--explain"], True)])
def test_explain_shows_evidence(repo_root, capsys, flag, explained):
    path = str(repo_root / "tests/golden/check/cast_front.tflite")
    assert main(["check", path, *flag]) == 1
    text = capsys.readouterr().out
    assert ("pair: " in text) == explained
    assert main(["check", path, "--json", *flag]) == 1
    content = json.loads(capsys.readouterr().out)
    assert ("rules" in content) == explained
    assert content["findings"][0]["evidence"][0].keys() == {"kind", "source"}


@pytest.mark.parametrize(("flag", "code"), [([], 1), (["--allow_cpu_tail"], 0)])
def test_postprocessing_is_as_good_as_it_gets(tmp_path, capsys, flag, code):
    import zoo

    path = tmp_path / "detector.tflite"
    path.write_bytes(zoo.detections())
    assert main(["check", str(path), *flag]) == code
    assert "as good as it gets" in capsys.readouterr().out
    path.write_bytes(zoo.gelu())
    assert main(["check", str(path), *flag]) == 1
