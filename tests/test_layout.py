"""Rules of the repository: imports point down, one module a notebook, exports fresh, outputs clean, nothing configured
at import."""
import ast, json, os, re, subprocess, sys, tomllib
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
import pytest, yaml
from nbdev.doclinks import nbglob
from conftest import ROOT, copy_sources
import release, requirements

NOTEBOOKS = {p.relative_to(ROOT/'nbs').with_suffix('').as_posix(): p for p in sorted(nbglob(ROOT/'nbs', as_path=True))}
MODULES = {'.'.join(p.relative_to(ROOT/'mrtl').with_suffix('').parts): p
           for p in sorted((ROOT/'mrtl').rglob('*.py')) if not p.stem.startswith('_')}
BIN = Path(sys.executable).parent

def cells(path): return json.loads(path.read_text(encoding='utf-8'))['cells']
def sources(path): return [''.join(c['source']) for c in cells(path) if c['cell_type'] == 'code']
def module_of(path):
    "The module that a notebook makes, or None."
    found = [m[1] for s in sources(path) if (m := re.search(r'^#\|\s*default_exp\s+(\S+)', s, re.M))]
    assert len(found) < 2, f'{path.name} has {len(found)} default_exp lines'
    return found[0] if found else None

MAKES = {name: m for name,p in NOTEBOOKS.items() if (m := module_of(p))}

def pages(items):
    "The pages of a sidebar, in order."
    for item in items:
        if isinstance(item, str): yield item.removesuffix('.ipynb')
        elif 'section' in item: yield from pages(item['contents'])
        else: yield item['href'].removesuffix('.ipynb')

SIDEBAR = list(pages(yaml.safe_load((ROOT/'_quarto.yml').read_text())['website']['sidebar']['contents']))
ORDER = {MAKES[name]: i for i,name in enumerate(n for n in SIDEBAR if n in MAKES)}  # from the ground up

# ---- imports and modules

def imports(source, module=''):
    "The modules of mrtl that a source imports anywhere, also inside functions; `module` is where the source stands."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import): names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            here = ['mrtl', *module.split('.')[:-1]] if module else ['mrtl']
            base = '.'.join(([] if not node.level else here[:len(here)-node.level+1])
                            +([node.module] if node.module else []))
            names = [base] if base in KNOWN else [f'{base}.{a.name}' for a in node.names]
        else: continue
        yield from (n.removeprefix('mrtl.') for n in names if n in KNOWN)

KNOWN = {f'mrtl.{m}' for m in MODULES}

def test_imports_sees_every_form():
    code = ('import mrtl, mrtl.core\nfrom .grids import x\nfrom . import models\nfrom mrtl.lab.bench import y\ndef '
            'f():\n    from mrtl import cli\n    import os')
    assert list(imports(code)) == ['core', 'grids', 'models', 'lab.bench', 'cli']
    assert list(imports('from .prior import a\nfrom ..core import b\nfrom .. import grids',
                        'evidence.model')) == ['evidence.prior', 'core', 'grids']

FOUND = {m: set(imports(p.read_text(encoding='utf-8'), m)) for m,p in MODULES.items()}

@pytest.mark.parametrize('module', MODULES)
def test_imports_point_down(module):
    for other in FOUND[module]:
        assert other in ORDER, f'mrtl.{module} imports mrtl.{other}, which no notebook makes'
        assert ORDER[other] < ORDER[module], (f'mrtl.{module} imports mrtl.{other}, which stands after it in the '
                                              f'sidebar: a module imports only earlier ones')

# A package, what it must never import, and why
NEVER = [('climate', 'basketball', 'the two applications do not know each other'),
         ('basketball', 'climate', 'the two applications do not know each other'),
         ('', 'lab', 'only the commands know the laboratory'),
         ('plots', 'estimators', 'pictures take any fitted object'),
         ('report', 'estimators', 'a page takes any fitted object'),
         ('panels', 'estimators', 'pictures take any fitted object'),
         ('curves', 'estimators', 'pictures take any fitted object'),
         ('tables', 'estimators', 'a page takes any fitted object'),
         ('bootstrap', 'evidence', 'who resamples does not ask how a model was fitted'),
         ('estimators', 'evidence.model', 'only the table of ways knows both ways'),
         ('', 'cli', 'nothing stands above the commands')]

def inside(module, package): return not package or module == package or module.startswith(package+'.')

@pytest.mark.parametrize('a,b,why', NEVER, ids=[f'{a or "all"}-{b}' for a,b,_ in NEVER])
def test_never(a, b, why):
    allowed = {'lab': ('lab', 'cli'), 'cli': ('cli',)}.get(b, ())
    broken = [f'{m} -> {o}' for m in MODULES if inside(m, a) and not any(inside(m, k) for k in allowed)
              for o in FOUND[m] if inside(o, b)]
    assert not broken, f'{why}: {broken}'

@pytest.mark.parametrize('module', MODULES)
def test_a_module_is_read_at_one_sitting(module):
    n = len(MODULES[module].read_text(encoding='utf-8').splitlines())
    assert n <= (250 if module == 'cli' else 520), f'mrtl.{module} has {n} lines: cut it where the thought is cut'

FILES = [*MODULES.values(), *sorted((ROOT/'tests').glob('*.py')), *sorted((ROOT/'tools').glob('*.py'))]
LONGER = dict(mrtl=330, tests=60, tools=20) # Lines over 120 columns that there may be: make these numbers smaller only

def long_lines(file, width):
    "Lines of code over `width` columns; cell marks of nbdev and what a page says of itself in one line are none."
    source = file.read_text(encoding='utf-8'); spans = set()
    if not any(len(l) > width for l in source.splitlines()): return []
    for n in ast.walk(ast.parse(source)): # texts of several lines are what they are
        if isinstance(n, (ast.Constant, ast.JoinedStr)) and n.end_lineno > n.lineno:
            spans |= set(range(n.lineno, n.end_lineno+1))
    return [(i, l) for i,l in enumerate(source.splitlines(), 1)
            if len(l) > width and i not in spans and not l.startswith('# %%') and (i > 1 or l[:3] != '"""')]

def test_lines_fit_the_page():
    "No line over 140 columns but for comments that `help` shows, texts, patterns and tables; and few over 120."
    count = Counter()
    for f in FILES:
        long = long_lines(f, 120)
        count[f.relative_to(ROOT).parts[0]] += len(long)
        for i,l in [(i, l) for i,l in long if len(l) > 140]:
            code = re.split(r'\s*# ', l)[0]
            text = max((len(t) for t in re.findall(r"""'[^']*'|"[^"]*\"""", l)), default=0)
            assert len(code) <= 140 or text > 60, f'{f.name}, line {i} has {len(l)} columns: cut it'
    assert all(count[k] <= n for k,n in LONGER.items()), f'lines over 120 columns: {dict(count)}, allowed {LONGER}'

def public(module):
    "The names that a module offers."
    lists = [n.value for n in ast.parse(MODULES[module].read_text(encoding='utf-8')).body if isinstance(n,
            ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__']
    return [n for v in lists for n in ast.literal_eval(v)]

def test_public_names_are_few_and_have_one_home():
    count = Counter(n for m in MODULES for n in public(m))
    assert count.total() <= 250, f'{count.total()} public names: helpers are `#| exporti`'
    assert max(count.values()) == 1, f'public in two modules: {[n for n,k in count.items() if k > 1]}'

@pytest.mark.parametrize('module', MODULES)
def test_no_private_name_is_borrowed(module):
    "What two modules share has a name without an underscore."
    tree = ast.parse(MODULES[module].read_text(encoding='utf-8'))
    taken = [a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level and n.module
             for a in n.names if a.name.startswith('_') and not a.name.startswith('__')]
    assert not taken, f'mrtl.{module} imports {taken}'

def test_numbers_order_the_pages_of_a_folder():
    for folder in {n.rpartition('/')[0] for n in MAKES}:
        names = [n for n in SIDEBAR if n in MAKES and n.rpartition('/')[0] == folder]
        assert names == sorted(names), f'{folder or "nbs"}: the sidebar has {names}'

def test_one_module_a_notebook():
    assert sorted(MAKES.values()) == sorted(MODULES), 'each module has its notebook, and each notebook its own module'
    for name,module in MAKES.items():
        assert re.sub(r'(^|/)\d\d_', r'\1', name) == module.replace('.', '/') != name, (f'{name}.ipynb makes '
                f'mrtl.{module}: name the notebook NN_{module.split(".")[-1]}, in the folder of its package')
    for name in NOTEBOOKS.keys()-MAKES.keys():
        assert not any(re.search(r'^#\|\s*exports?\b', s, re.M)
                       for s in sources(NOTEBOOKS[name])), f'{name} exports cells but has no default_exp'

def test_no_cell_exports_elsewhere():
    for name,path in NOTEBOOKS.items():
        for s in sources(path):
            assert not re.search(r'^#\|\s*exporti?s?[ \t]+\S', s, re.M), f'{name}: a cell exports into another module'

def test_page_names_are_unique():
    pages = Counter(re.sub(r'(^|/)\d+_', r'\1', name) for name in NOTEBOOKS)
    assert max(pages.values()) == 1, f'pages drop the number, so these collide: {[p for p,n in pages.items() if n > 1]}'

# ---- fresh and clean

def contents(folder):
    return {f'{folder.name}/{p.relative_to(folder).as_posix()}': p.read_bytes() for p in sorted(folder.rglob('*'))
            if p.is_file() and '__pycache__' not in p.parts
            and not any(q.startswith('.') for q in p.relative_to(folder).parts)}

def test_export_is_fresh_and_notebooks_are_clean(once):
    def make(folder):
        copy = copy_sources(folder/'tree')
        env = {k: v for k,v in os.environ.items() if k != 'IN_TEST'} | dict(PYTHONPATH=str(copy))
        for command in 'nbdev_export', 'nbdev-clean': subprocess.run([BIN/command], cwd=copy, env=env, check=True)
    copy = once('fresh', make)/'tree'
    for name in 'nbs', 'mrtl':
        ours,fresh = contents(ROOT/name),contents(copy/name)
        differ = sorted(p for p in ours.keys()|fresh.keys() if ours.get(p) != fresh.get(p))
        assert not differ, f'run `nbdev_export && nbdev-clean`; these change: {differ}'

# ---- importing configures nothing

STATE = '''
import importlib, json, os, random, signal, sys, warnings
import numpy, pandas, scipy.optimize, sklearn.base, tensorly, torch, xarray, fastcore.all
def state():
    return {k: repr(v) for k,v in dict(
        dtype=torch.get_default_dtype(), seed=torch.initial_seed(), torch_random=torch.get_rng_state().tolist(), threads=(torch.get_num_threads(), torch.get_num_interop_threads()),
        deterministic=torch.are_deterministic_algorithms_enabled(), grad=torch.is_grad_enabled(), device=torch.get_default_device(), matmul=torch.get_float32_matmul_precision(),
        tensorly=tensorly.get_backend(), xarray=sorted(xarray.get_options().items()), numpy_print=sorted(numpy.get_printoptions().items()), numpy_errors=numpy.geterr(), numpy_random=numpy.random.get_state()[1].tolist(),
        pandas=[pandas.get_option(o) for o in ('display.width', 'display.max_rows', 'display.precision')], random=random.getstate(), filters=warnings.filters, environ=dict(os.environ), path=sys.path, interrupt=signal.getsignal(signal.SIGINT)).items()}
before = state()
for m in %r: importlib.import_module('mrtl.'+m)
after = state()
print(json.dumps(dict(changed=[k for k in before if before[k] != after[k]], heavy=[m for m in ('matplotlib', 'netCDF4', 'IPython', 'nbdev') if m in sys.modules])))
'''

def test_importing_changes_nothing(python):
    found = json.loads(python(STATE % sorted(MODULES)))
    assert found['changed'] == [], 'a module configures something at import'
    assert found['heavy'] == [], 'import these inside the functions that use them'

def test_the_check_sees_changes(python):
    changes = dict(dtype='torch.set_default_dtype(torch.float64)', seed='torch.manual_seed(3)',
                   threads='torch.set_num_threads(3)', tensorly='tensorly.set_backend("pytorch")',
        xarray='xarray.set_options(keep_attrs=True)', numpy_print='numpy.set_printoptions(precision=2)',
        filters='warnings.simplefilter("ignore")', environ='os.environ["NEW"] = "1"')
    found = json.loads(python((STATE % []).replace('after = state()',
                                                   '; '.join([*changes.values(), 'after = state()']))))
    assert set(found['changed']) >= changes.keys()

# ---- stored outputs

UNWANTED = {'a path of a machine': r'(?<![\w.:/])/(?:home|root|tmp|work|Users|mnt|opt|usr|var|private|content)/\w|\b[A-Z]:\\\\?\w|ipython-input', 'a warning': r'\b\w*Warning\b', 'a progress bar': r'it/s|s/it|\d%\|',
            'a timing': r'Wall time|CPU times|\bµs\b|\b\d+(\.\d+)? ms\b', 'an address': r'\bat 0x[0-9a-f]{6,}'}

def texts(path):
    "The text of all stored outputs, with their kind."
    for c in cells(path):
        for o in c.get('outputs', []):
            if o['output_type'] == 'stream': yield o['name'],''.join(o['text'])
            elif o['output_type'] == 'error': yield 'error',o['ename']
            else:
                yield from ((mime, ''.join(v)) for mime,v in o['data'].items() if mime.startswith('text/')
                            or mime == 'image/svg+xml')

@pytest.mark.parametrize('name', NOTEBOOKS)
def test_stored_outputs_are_clean(name):
    for kind,text in texts(NOTEBOOKS[name]):
        assert kind != 'error', f'{name} stores an error: {text}'
        assert kind != 'stderr', f'{name} stores what went to stderr: {text[:200]}'
        for what,pattern in UNWANTED.items():
            m = re.search(pattern, text)
            assert not m, f'{name} stores {what}: ...{text[max(0, m.start()-60):m.end()+60]}...'

@pytest.mark.parametrize('what,text', [('a path of a machine', 'saved in /home/ann/runs'),
                                       ('a path of a machine', '<ipython-input-6-5e7>:17'),
                                       ('a warning', 'x.py:3: DeprecationWarning: no'),
    ('a progress bar', ' 50%|#####     | 5/10 [00:01<00:01,  4.9it/s]'), ('a timing', 'Wall time: 3 s'),
    ('an address', '<object at 0x7f3a2b1c>')])
def test_unwanted_is_recognised(what, text): assert re.search(UNWANTED[what], text)

@pytest.mark.parametrize('name', NOTEBOOKS)
def test_notebook_is_small(name):
    assert (NOTEBOOKS[name].stat().st_size
            <= 200*1024), f'{name} has {NOTEBOOKS[name].stat().st_size//1024} KB, at most 200'

@pytest.mark.parametrize('name', NOTEBOOKS)
def test_every_picture_is_stored(name):
    "A cell that describes its picture for those who cannot see it has one."
    for c in json.loads(NOTEBOOKS[name].read_text(encoding='utf-8'))['cells']:
        if c['cell_type'] == 'code' and '#| fig-alt' in ''.join(c['source']):
            kinds = {k for o in c['outputs'] for k in o.get('data', {})}
            assert kinds & {'image/png', 'image/svg+xml', 'text/html'}, f'{name}: run it and store its outputs'

# ---- the package

def test_entry_points():
    declared = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']['scripts']
    assert declared.keys() >= {'mrtl', 'nbdev_test', 'nbdev_export'}
    installed = {e.name: e.value for e in entry_points(group='console_scripts')}
    for name,value in declared.items():
        assert installed.get(name) == value, f'{name} is declared but not installed: pip install -e . again'

@pytest.mark.parametrize('name', ['nbdev_test', 'nbdev_export'])
def test_entry_point_runs(name):
    done = subprocess.run([BIN/name, '--help'], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and 'usage' in done.stdout, done.stderr

def test_top_level():
    wanted = """README.md CONTRIBUTING.md CODE_OF_CONDUCT.md SECURITY.md CHANGELOG.md LICENSE CITATION.cff settings.ini pyproject.toml
        _quarto.yml .gitattributes .pre-commit-config.yaml .ci/run .github/PULL_REQUEST_TEMPLATE.md"""
    for name in wanted.split(): assert (ROOT/name).exists(), f'{name} is missing'
    assert os.access(ROOT/'.ci/run', os.X_OK)
    assert 'Apache License' in (ROOT/'LICENSE').read_text()[:200]
    assert len((ROOT/'CONTRIBUTING.md').read_text().splitlines()) <= 50, 'CONTRIBUTING.md is one screen'

# ---- the workshop

WORKFLOWS = {p.stem: yaml.safe_load(p.read_text()) for p in sorted((ROOT/'.github'/'workflows').glob('*.yml'))}

def commands(job): return [s['run'] for s in job['steps'] if 'run' in s]

def test_workflows_do_what_the_names_say():
    assert '.ci/run' in commands(WORKFLOWS['ci']['jobs']['ci'])
    assert ('nbdev-docs' in commands(WORKFLOWS['docs']['jobs']['build'])
            and 'refs/tags/v' in WORKFLOWS['docs']['jobs']['publish']['if'])
    cases = [(c['python'], c['versions'])
             for c in WORKFLOWS['weekly']['jobs']['versions']['strategy']['matrix']['include']]
    assert {p for p,v in cases if v == 'newest'} == {'3.11', '3.12', '3.13', '3.14'} and ('3.11', 'lowest') in cases

@pytest.mark.parametrize('name', WORKFLOWS)
def test_scripts_that_workflows_call_are_there(name):
    for job in WORKFLOWS[name]['jobs'].values():
        for c in commands(job):
            for file in re.findall(r'(?:tools|tests|\.ci)/[\w.]+', c):
                assert (ROOT/file).is_file(), f'{name}.yml calls {file}'
        assert job.get('timeout-minutes') or 'needs' in job, f'{name}.yml: a job without a limit runs six hours'

def test_requirements_of_other_versions():
    extras = dict(big=['zarr>=3.1'], dev=['torch==2.13.0', 'numpy>=2', 'nbdev>=3.3,<3.4', 'boost>=1.5'])
    project = {'dependencies': ['numpy>=2', 'dask[array]>=2024.6', 'torch>=2.4'], 'optional-dependencies': extras}
    lowest = ['boost==1.5.*', 'dask[array]==2024.6.*', 'nbdev>=3.3,<3.4', 'numpy==2.0.*', 'torch==2.4.*', 'zarr==3.1.*']
    assert requirements.requirements(project, 'lowest') == lowest
    assert requirements.requirements(project, 'newest') == ['boost', 'dask[array]', 'nbdev>=3.3,<3.4',
            'numpy', 'torch', 'zarr']
    assert requirements.requirements(tomllib.loads((ROOT/'pyproject.toml').read_text())['project'], 'lowest')

def test_one_version_everywhere():
    assert list(release.disagreements(release.version(), draft=True)) == []
    assert len(list(release.disagreements('9.9.9', draft=True))) == 3
