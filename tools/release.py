#!/usr/bin/env python
"""Make a release and try it: `python tools/release.py [--tag] [REQUIREMENT ...]`.

1. The version in `mrtl/__init__.py` stands in CITATION.cff, in the footer of `_quarto.yml`, and as a dated heading
in CHANGELOG.md; nothing is uncommitted.
2. A wheel and an sdist are built into dist/, from a fresh clone of the last commit, and a wheel made from the sdist
holds the same files.
3. The wheel is installed into a fresh environment, away from the repository, and used: `mrtl --version`, the names
of `import mrtl`, `mrtl demo`, and a model that is loaded again.
4. With --tag, the commit is tagged `v` and the version. Pushing the tag publishes the docs; `twine upload dist/*`
publishes the package.

REQUIREMENT: what else to install beside the wheel, such as torch==2.13.0. --draft leaves out the date and the
uncommitted changes of step 1."""
import argparse, os, re, shutil, subprocess, sys, tempfile, venv, zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

def read(name): return (ROOT/name).read_text(encoding='utf-8')

def version(): return re.search(r"^__version__ = ['\"](.+?)['\"]", read('mrtl/__init__.py'), re.M)[1]

def disagreements(v, draft=False):
    "Where another version than `v` stands, or none, in words."
    if f'\nversion: {v}\n' not in read('CITATION.cff'): yield f'CITATION.cff does not say `version: {v}`'
    if f'mrtl {v}\n' not in read('_quarto.yml'): yield f'the footer in _quarto.yml does not say `mrtl {v}`'
    heading = re.search(rf'^## {re.escape(v)} \((.+)\)$', read('CHANGELOG.md'), re.M)
    if not heading: yield f'CHANGELOG.md has no heading `## {v} (date)`'
    elif not draft and not re.fullmatch(r'\d{4}-\d\d-\d\d', heading[1]):
        yield f'CHANGELOG.md says {v} ({heading[1]}): give its date, as 2026-01-31'
    if not draft and (left := run('git', 'status', '--porcelain', cwd=ROOT).strip()):
        yield f'these changes are not committed:\n{left}'

def run(*args, **kw):
    "Run a command and give what it prints; where it fails, show it and stop."
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, **kw)
    if done.returncode: raise SystemExit(f'{" ".join(map(str, args))}\n{done.stdout}{done.stderr}')
    return done.stdout

def environment(folder):
    "A fresh environment; its folder of commands."
    venv.create(folder, with_pip=True)
    return folder/'bin'

def build(work):
    "The wheel and the sdist, from a clone; the wheel of the sdist has the same files."
    source = work/'source'
    run('git', 'clone', '-q', ROOT, source)
    bin = environment(work/'builder')
    run(bin/'python', '-m', 'pip', 'install', '-q', 'build')
    run(bin/'python', '-m', 'build', '--outdir', work/'dist', source)
    wheel,sdist = *(work/'dist').glob('*.whl'), *(work/'dist').glob('*.tar.gz')
    shutil.unpack_archive(sdist, work/'unpacked')
    run(bin/'python', '-m', 'build', '--wheel', '--outdir', work/'again', next((work/'unpacked').iterdir()))
    def names(w): return sorted(zipfile.ZipFile(w).namelist())
    if (a := names(wheel)) != (b := names(next((work/'again').glob('*.whl')))):
        raise SystemExit(f'the wheel of the sdist differs: {sorted(set(a) ^ set(b))}')
    modules = {p.relative_to(source).as_posix() for p in (source/'mrtl').rglob('*') if p.is_file()
               and p.suffix in ('.py', '.npz', '.typed')}
    if missing := modules-set(a): raise SystemExit(f'the wheel lacks {sorted(missing)}')
    return wheel,sdist

TRY = '''
import sys, mrtl
assert 'site-packages' in mrtl.__file__, mrtl.__file__
for name in mrtl.__all__: getattr(mrtl, name)
m = mrtl.MRTLRegressor.load('demo/model.mrtl')
print(mrtl.__version__, len(mrtl.__all__), 'names;', m.factors_.sizes['component'], 'components in the loaded model')
'''

def use(wheel, v, more, work):
    "Install the wheel where nothing else is, and use it."
    bin = environment(work/'user')
    env = {k: x for k,x in os.environ.items() if k not in ('PYTHONPATH', 'VIRTUAL_ENV')} | dict(OMP_NUM_THREADS='1')
    run(bin/'python', '-m', 'pip', 'install', '-q', wheel, *more, cwd=work, env=env)
    said = run(bin/'mrtl', '--version', cwd=work, env=env).strip()
    if said != v: raise SystemExit(f'mrtl --version says {said}, not {v}')
    run(bin/'mrtl', 'demo', '--out', 'demo', cwd=work, env=env)
    for name in 'model.mrtl', 'report.html', 'metrics.json': assert (work/'demo'/name).stat().st_size, name
    print(run(bin/'python', '-c', TRY, cwd=work, env=env).strip())

def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument('more', nargs='*', metavar='REQUIREMENT', help='what else to install beside the wheel')
    args.add_argument('--draft', action='store_true', help='try it before the version has its date; '
                      'the last commit is built')
    args.add_argument('--tag', action='store_true', help='tag the commit when all went well')
    a = args.parse_args()
    v = version()
    if wrong := list(disagreements(v, a.draft)): raise SystemExit('\n'.join(wrong))
    if a.tag and a.draft: raise SystemExit('a draft gets no tag')
    with tempfile.TemporaryDirectory() as d:
        work = Path(d)
        wheel,sdist = build(work)
        use(wheel, v, a.more, work)
        shutil.rmtree(ROOT/'dist', ignore_errors=True)
        shutil.copytree(work/'dist', ROOT/'dist')
    if a.tag: run('git', 'tag', '-a', f'v{v}', '-m', f'mrtl {v}', cwd=ROOT)
    print(f'dist/{wheel.name} and dist/{sdist.name} are built and tried'+(f'; tagged v{v}' if a.tag else ''))

if __name__ == '__main__': main()
