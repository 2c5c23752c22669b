"""What the page of mrtl.core cannot show: every order of precedence, fresh processes, killed writers, terminals."""
import itertools, os, signal, socket, subprocess, sys, urllib.request
from pathlib import Path
import numpy as np
import pytest
import torch
from mrtl.core import (DEFAULTS, ConfigError, DataError, FormatError, MRTLError, ScheduleError,
                       atomic_write, check_room,
                       generator, get_device, progress, read_setting, read_settings,
                       settings, settings_file)
from conftest import ROOT

GIVEN = dict(file=dict(data='f', runs='f', device='f', seed=1, threads=1),
             env=dict(data='e', runs='e', device='e', seed=2, threads=2),
             flag=dict(data='x', runs='x', device='x', seed=3, threads=3))

@pytest.fixture
def clean(monkeypatch, tmp_path):
    "No setting from outside: an empty working folder, and no variable."
    for name in ['SETTINGS', *map(str.upper, DEFAULTS)]: monkeypatch.delenv(f'MRTL_{name}', raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path

def ini(folder, **values):
    text = '\n'.join(['# mine', '[DEFAULT]', *(f'{k} = {v}' for k,v in values.items())])
    (folder/'settings.ini').write_text(text)

# ---- settings

@pytest.mark.parametrize('key', DEFAULTS)
@pytest.mark.parametrize('sources',
                         [s for n in range(4) for s in itertools.combinations(['file', 'env', 'flag'], n)],
                         ids='+'.join)
def test_precedence(clean, monkeypatch, key, sources):
    ini(clean, **({key: GIVEN['file'][key]} if 'file' in sources else {}))
    if 'env' in sources: monkeypatch.setenv(f'MRTL_{key.upper()}', str(GIVEN['env'][key]))
    flags = {key: GIVEN['flag'][key]} if 'flag' in sources else {}
    expected = GIVEN[sources[-1]][key] if sources else DEFAULTS[key]
    assert settings(**flags) == {**DEFAULTS, key: expected}

def test_settings_file_is_found_in_order(clean, monkeypatch):
    assert settings_file() == ROOT/'settings.ini'
    ini(clean, seed=5)
    assert settings_file() == clean/'settings.ini'
    (clean/'named').mkdir()
    ini(clean/'named', seed=6)
    monkeypatch.setenv('MRTL_SETTINGS', str(clean/'named'/'settings.ini'))
    assert settings()['seed'] == 6

def test_shipped_settings_are_the_defaults_and_say_whose_they_are():
    assert read_settings(ROOT/'settings.ini') == DEFAULTS
    first = (ROOT/'settings.ini').read_text().splitlines()[0]
    assert "mrtl's own run settings" in first and 'pyproject.toml' in first

@pytest.mark.parametrize('key,value', [('seed', '-1'), ('seed', '1.0'), ('threads', 'two'), ('seed', True),
                                       ('seed', 2.5), ('threads', '')])
def test_numbers_are_whole(key, value):
    with pytest.raises(ConfigError, match=f'{key} must be a whole number.*from here'): read_setting(key, value, 'here')

@pytest.mark.parametrize('value', [np.int64(4), 4, '4', ' 4\n'])
def test_numbers_in_other_clothes(value): assert read_setting('seed', value) == 4

def test_paths_become_text(): assert settings(data=Path('a')/'b')['data'] == os.path.join('a', 'b')

@pytest.mark.parametrize('text', ['seed = 3', '[DEFAULT]\nseed = 3\nseed = 4', '[DEFAULT\nseed',
                                  b'\xff\xfe\x00[DEFAULT]'])
def test_damaged_settings_file(clean, text):
    (clean/'settings.ini').write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FormatError, match='cannot read the settings file'): settings()

def test_settings_of_another_tool_do_no_harm(clean):
    (clean/'settings.ini').write_text('[DEFAULT]\nlib_name = other\nversion = 0.1\n[tool]\nseed = 9\n')
    assert settings() == DEFAULTS

@pytest.mark.parametrize('error', [DataError, ScheduleError, ConfigError, FormatError])
def test_error_family(error): assert issubclass(error, MRTLError) and issubclass(error, ValueError)

def test_core_is_light(python):
    assert python("import sys, mrtl.core; print([m for m in ('torch', 'tqdm', 'numpy', 'pandas') if m "
                  "in sys.modules])") == '[]'

# ---- device and seeds

@pytest.mark.parametrize('name', ['gpu', 'cuda:', 'cuda:-1', 'cuda:256', 'mps', 'meta', '', None, 0, 'cpu:x'])
def test_unknown_device(name):
    with pytest.raises(ConfigError, match='device'): get_device(name)

def test_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ConfigError, match='sees 0 GPUs here: use cpu or auto'): get_device('cuda')
    assert get_device() == torch.device('cpu')

def test_device_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    assert [str(get_device(n)) for n in ('auto', 'cuda', 'cuda:1', 'cpu', torch.device('cpu'))] == ['cuda', 'cuda',
            'cuda:1', 'cpu', 'cpu']
    with pytest.raises(ConfigError, match='sees 2 GPUs'): get_device('cuda:2')

def test_generator_is_the_same_in_every_process(python):
    code = ("import torch; from mrtl.core import generator; print(torch.rand(3, generator=generator(7, "
            "'level', 2)).tolist())")
    assert python(code, PYTHONHASHSEED='1') == python(code,
            PYTHONHASHSEED='2') == str(torch.rand(3, generator=generator(7, 'level', 2)).tolist())

def test_generators_differ():
    parts = [(s, w, i) for s in range(20) for w in ('init', 'order', 'valid') for i in range(20)]
    assert len({generator(*p).initial_seed() for p in parts}) == len(parts)
    draws = torch.stack([torch.randn(2000, generator=generator(s)) for s in range(20)])
    off = torch.corrcoef(draws)-torch.eye(20)
    assert off.abs().max() < 5/2000**.5

def test_generator_takes_numpy_integers(): assert generator(np.int64(3)).initial_seed() == generator(3).initial_seed()

@pytest.mark.parametrize('part', [None, 1.5, b'a', (1,), np.float64(1)])
def test_generator_refuses(part):
    with pytest.raises(ConfigError, match='give each part as an int or a str'): generator(0, part)

# ---- files

WRITER = '''
import sys, time
from mrtl.core import atomic_write
with atomic_write(sys.argv[1]) as t:
    with open(t, 'w') as f:
        f.write('new'*1000); f.flush(); print('half', flush=True); time.sleep(60)
'''

@pytest.mark.parametrize('old', [None, 'old'])
@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT])
def test_killed_writer_leaves_the_old_file(tmp_path, old, how):
    f = tmp_path/'model.mrtl'
    if old: f.write_text(old)
    p = subprocess.Popen([sys.executable, '-c', WRITER, str(f)], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
    assert p.stdout.readline() == 'half\n'
    p.send_signal(how); p.wait(30); p.stdout.close()
    assert (f.read_text() if f.exists() else None) == old
    if how == signal.SIGINT:
        assert [q.name for q in tmp_path.iterdir()] == ([f.name] if old else []), 'a temporary file was left'

def test_a_reader_never_sees_half(tmp_path):
    f = tmp_path/'x.txt'
    for i in range(50):
        with atomic_write(f) as t:
            t.write_text(str(i)*10_000)
            if i: assert set(f.read_text()) == set(str(i-1)) and f.stat().st_size >= 10_000
    assert list(tmp_path.iterdir()) == [f]

def test_a_reader_in_the_middle_keeps_the_old_file(tmp_path):
    f = tmp_path/'x.txt'
    f.write_text('old'*10)
    with open(f) as reader:
        assert reader.read(3) == 'old'
        with atomic_write(f) as t: t.write_text('new'*10)
        assert reader.read() == 'old'*9 and f.read_text() == 'new'*10

@pytest.mark.parametrize('name', ['a.npz', 'b.nc', 'c.json.gz', 'd'])
def test_the_temporary_name_ends_as_the_final_one(tmp_path, name):
    with atomic_write(tmp_path/name) as t:
        assert t.parent == tmp_path and t.name != name and t.name.endswith(name)
        t.write_bytes(b'1')

def test_writers_that_go_by_the_ending(tmp_path):
    with atomic_write(tmp_path/'a.npz') as t: np.savez(t, x=np.arange(3))
    assert list(np.load(tmp_path/'a.npz')['x']) == [0, 1, 2]

def test_a_link_keeps_pointing(tmp_path):
    (tmp_path/'real').write_text('old')
    (tmp_path/'link').symlink_to(tmp_path/'real')
    with atomic_write(tmp_path/'link') as t: t.write_text('new')
    assert (tmp_path/'link').is_symlink() and (tmp_path/'real').read_text() == 'new'

def test_a_body_that_writes_nothing(tmp_path):
    (tmp_path/'x').write_text('old')
    with pytest.raises(FileNotFoundError):
        with atomic_write(tmp_path/'x'): pass
    assert (tmp_path/'x').read_text() == 'old'

def test_progress_by_hand(capsys):
    with progress(total=3, desc='levels') as bar: bar.update(3)
    assert capsys.readouterr() == ('', '')

# ---- of the tests themselves

@pytest.mark.parametrize('reach', [lambda: socket.create_connection(('192.0.2.1', 80), timeout=1),
                                   lambda: socket.getaddrinfo('example.org', 80),
                                   lambda: urllib.request.urlopen('http://example.org', timeout=1)])
def test_no_test_reaches_another_machine(reach):
    with pytest.raises((RuntimeError, OSError), match='tests do without the network'): reach()

def test_this_machine_is_reached():
    with socket.create_server(('127.0.0.1', 0)) as s: socket.create_connection(s.getsockname(), timeout=5).close()

def test_room():
    check_room(2e9, 'this fit', 'use a coarser grid', free=2e9); check_room(1e3, 'this fit', 'use a coarser grid')
    for need,free in ((2.1e9, 2e9), (1e18, None)):
        with pytest.raises(DataError, match=f'this fit needs about {need/1e9:,.0f} GB of '
                           f'memory.*free: use a coarser grid'):
            check_room(need, 'this fit', 'use a coarser grid', free=free)
