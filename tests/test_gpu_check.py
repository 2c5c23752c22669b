"""tools/gpu_check.py where there is no GPU, and its parts with pretended commands."""
import importlib.util, json, sys
import pytest
import torch
from conftest import ROOT

@pytest.fixture(scope='module')
def tool():
    "The script as a module."
    spec = importlib.util.spec_from_file_location('gpu_check', ROOT/'tools'/'gpu_check.py')
    m = importlib.util.module_from_spec(spec); spec.loader.exec_module(m)
    return m

def py(code): return [sys.executable, '-S', '-c', code]

def read(folder): return json.loads((folder/'gpu_check.json').read_text())

def test_without_a_gpu(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path/'new')], gpu=False) == 0 and capsys.readouterr().out.startswith('no GPU')
    found = read(tmp_path/'new'); assert found['gpu'] is None and found['parts'] == {} and 'no GPU' in found['said']

@pytest.mark.skipif(torch.cuda.is_available(), reason='here is a GPU')
def test_it_looks_for_a_gpu_itself(tool, tmp_path, capsys):
    assert tool.main([str(tmp_path)]) == 0 and 'no GPU' in capsys.readouterr().out

def test_parts_are_written_as_they_end(tool, tmp_path):
    "The second part fails, and finds the first in the file."
    there = f"import json,sys; sys.exit(2+len(json.load(open({str(tmp_path/'gpu_check.json')!r}))['parts']))"
    rows = tmp_path/'bench'/'bench.json'; rows.parent.mkdir()
    rows.write_text(json.dumps(dict(rows=[dict(name='cp', value=2., unit='times', what='')])))
    (tmp_path/'tests.xml').write_text('<testsuites><testsuite tests="7" failures="1" errors="0" '
                                      'skipped="2"/></testsuites>')
    tool.check(tmp_path, 300., dict(tests=py("print('seven')"), cells=py(there), bench=py('')))
    p = read(tmp_path)['parts']
    assert [v['code'] for v in p.values()] == [0, 3, 0] and p['tests']['output'] == 'seven\n'
    assert p['tests']['found'] == dict(tests=7, failures=1, errors=0, skipped=2)
    assert p['bench']['found']['cp']['value'] == 2.

def test_a_part_that_takes_too_long_is_ended(tool):
    r = tool.run_part(py("import time; time.sleep(600)"), 1.); assert r['code'] is None and 1 <= r['seconds'] < 300

def test_what_is_run_is_there(tool, tmp_path):
    c = tool.commands(tmp_path); assert set(c) == set(tool.SHARES) and abs(sum(tool.SHARES.values())-1) < 1e-9
    assert {'tests/test_cuda.py', 'tests/test_penalties.py'} <= set(c['tests'])
    assert any(k.endswith('32_multiresolution.ipynb') for k in c['cells']) and c['bench'][-1] == str(tmp_path/'bench')

def test_damaged_results_are_none(tool, tmp_path):
    assert tool.counted(tmp_path) is None and tool.measured(tmp_path) == {}
    (tmp_path/'tests.xml').write_text('<testsuites'); assert tool.counted(tmp_path) is None
