"""Break a module at random, one small change at a time, and see whether its tests notice: what no test notices is a
hole, or changes nothing.

    python tools/mutate.py FOLDER [--modules grids,splits] [--mutants 200]   # go on; FOLDER keeps one JSON line a mutant
    python tools/mutate.py FOLDER --again                      # the survivors once more, after tests were added
    python tools/mutate.py FOLDER --show                       # the survivors, and the table
    python tools/mutate.py FOLDER --modules grids --only 17    # one mutant again, with what the tests print

A number gives the same mutant again as long as the module is the same. Never touched: docstrings, annotations,
decorators, imports, what `raise` says, f-strings.
The tests are collected once; each mutant is a fork in which the changed code is put in place of the old (what
stands outside of functions: mrtl is imported afresh).
First the cells of its notebook run, then those tests that reach the changed lines, one case of each test function
before the second ones, until one fails or the budget is used up.
A traced run of the module as it stands, which must pass, finds which test reaches which line. `mutants.csv` says
why a survivor may live.
"""
import argparse, ast, contextlib, copy, csv, gc, hashlib, importlib, importlib.machinery, importlib.util
import json, os, random, re, resource, signal, sys, threading, time, traceback
os.environ.setdefault('OMP_NUM_THREADS', '1'); os.environ['MPLBACKEND'] = 'agg'
from collections import Counter, defaultdict
from pathlib import Path
from functools import lru_cache
from types import CodeType, FunctionType

ROOT = Path(__file__).resolve().parent.parent
WHY = Path(__file__).with_name('mutants.csv')
LIMIT = 20    # Seconds of processor time for a mutant, then it counts as killed

# A module's notebook and the tests that know it best: files, each with what pytest's -k takes. All of them are
# traced first, so none that trains for long
MODULES = dict(
    samples=('13_samples', dict(models='entry_weights or data_refused', samples='')),
    designs=('11_designs', dict(splits='share_no_time or by_row', designs='')),
    grids=('10_grids', dict(grids='')),
    finegrain=('23_finegrain', dict(grids='finegrain or prolong or nested or norm or sums_keep or masked_values or '
                                    'shapes_are or without_land or own_copies or adjoint', plain='copies',
                                    points='copies', globe='copies')),
    penalties=('22_penalties', dict(penalties='not memory')),
    splits=('12_splits', dict(splits='')),
    bounds=('33_bounds', dict(bounds='not noticed and not gamma_of_a_run')))
MODULES['evidence.condense'] = 'evidence/03_condense',dict(condense='', rank='one_place or best_of or turned or '
                                                          'nothing_has or share_is')

# ---- mutants

CMP = {ast.Lt: [ast.LtE,ast.Gt], ast.LtE: [ast.Lt,ast.Gt], ast.Gt: [ast.GtE,ast.Lt], ast.GtE: [ast.Gt,ast.Lt],
       ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq],
       ast.Is: [ast.IsNot], ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In]}
BIN = {ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div,ast.Add], ast.Div: [ast.Mult],
       ast.FloorDiv: [ast.Mult,ast.Div], ast.Mod: [ast.FloorDiv],
       ast.Pow: [ast.Mult], ast.BitAnd: [ast.BitOr], ast.BitOr: [ast.BitAnd]}
NAMES = dict(min='max', any='all', minimum='maximum', argmin='argmax', zeros='ones', flatnonzero='nonzero',
             floor='ceil', sum='mean', ndim='size',
             zip='enumerate', sorted='list', left='right', sqrt='square', abs='float', cumsum='cumprod', sin='cos',
             rows='cols', isfinite='isnan', h='w', y='x', lo='hi')
NAMES |= {b: a for a,b in NAMES.items() if a in ('min','any','minimum','argmin','zeros','h','y','lo','floor')}
SAME = ('min', 'max', 'minimum', 'maximum', 'hypot')  # Their arguments may be swapped
TEXT = (ast.JoinedStr, ast.Import, ast.ImportFrom)

def constants(v):
    "Other constants in place of one."
    if isinstance(v, bool): return [not v]
    if isinstance(v, int): return [v+1, v-1, 0, -v]
    if isinstance(v, float): return [v+1, v-1, 0., -v, v*2]
    return [v+'?', ''] if isinstance(v, str) else []

def others(n):
    "What may stand in place of a node."
    C = copy.deepcopy
    if isinstance(n, ast.Compare):
        for i,op in enumerate(n.ops):
            for new in CMP[type(op)]: m = C(n); m.ops[i] = new(); yield m
    elif isinstance(n, ast.BinOp):
        for new in BIN.get(type(n.op), ()): yield ast.BinOp(C(n.left), new(), C(n.right))
        if isinstance(n.op, (ast.Sub,ast.Div,ast.FloorDiv,ast.MatMult)): yield ast.BinOp(C(n.right), C(n.op), C(n.left))
        yield C(n.left); yield C(n.right)
    elif isinstance(n, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(n.op, ast.And) else ast.And(), C(n.values))
        for i in range(len(n.values)):
            v = n.values[:i]+n.values[i+1:]
            yield C(v[0]) if len(v)==1 else ast.BoolOp(C(n.op), C(v))
    elif isinstance(n, ast.UnaryOp): yield C(n.operand)
    elif isinstance(n, ast.Constant): yield from (ast.Constant(v) for v in constants(n.value) if v!=n.value)
    elif isinstance(n, ast.IfExp):
        yield ast.IfExp(C(n.test), C(n.orelse), C(n.body))
        yield C(n.body); yield C(n.orelse)
    elif isinstance(n, ast.If):
        m = C(n); m.test = ast.UnaryOp(ast.Not(), m.test); yield m
        if n.orelse: m = C(n); m.body,m.orelse = m.orelse,m.body; yield m
        for v in (True, False): m = C(n); m.test = ast.Constant(v); yield m
    elif isinstance(n, ast.Call):
        if len(n.args)>1 and ast.unparse(n.func).split('.')[-1] not in SAME:
            m = C(n); m.args[:2] = m.args[1::-1]; yield m
        for i,k in enumerate(n.keywords):
            if k.arg: m = C(n); del m.keywords[i]; yield m
        if isinstance(n.func, ast.Attribute) and not n.args and not n.keywords: yield C(n.func.value)
    elif isinstance(n, ast.Slice):
        for k in ('lower', 'upper', 'step'):
            if getattr(n, k) is not None: m = C(n); setattr(m, k, None); yield m
    elif isinstance(n, ast.Tuple) and isinstance(n.ctx, ast.Load) and len(n.elts)==2:
        m = C(n); m.elts.reverse(); yield m
    elif isinstance(n, ast.comprehension):
        for i in range(len(n.ifs)): m = C(n); del m.ifs[i]; yield m
    elif isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load) and n.attr in NAMES:
        m = C(n); m.attr = NAMES[n.attr]; yield m
    elif isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load) and n.id in NAMES:
        yield ast.Name(NAMES[n.id], ast.Load())
    elif isinstance(n, ast.Return) and n.value is not None: yield ast.Return(ast.Constant(None))
    elif isinstance(n, (ast.Expr,ast.AugAssign,ast.Raise,ast.For,ast.Continue)): yield ast.Pass()
    elif isinstance(n, ast.Assign) and all(isinstance(t, (ast.Attribute,ast.Subscript)) for t in n.targets):
        yield ast.Pass()

def places(tree):
    """Each place that may change: its holder, field, position, node, lines of its statement (of its function, in a
    signature), and the name of its function."""
    out = []
    def go(n, lines, name):
        for field,value in ast.iter_fields(n):
            if field in ('annotation', 'returns', 'decorator_list',
                         'keywords' if isinstance(n, ast.ClassDef) else '', 'bases'):
                continue
            for i,c in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(c, ast.AST) or isinstance(c, TEXT): continue
                if isinstance(c, ast.Expr) and isinstance(c.value, ast.Constant): continue  # a docstring
                if isinstance(c, ast.Assign) and ast.unparse(c.targets[0])=='__all__': continue
                at,called = lines,name
                if isinstance(c, (ast.FunctionDef,ast.ClassDef)):
                    at,called = (c.lineno, c.end_lineno),f'{name}.{c.name}'.strip('.')
                elif isinstance(c, ast.stmt):
                    at = c.lineno,max(c.lineno, c.body[0].lineno-1) if hasattr(c, 'body') else c.end_lineno
                out.append((n, field, i, c, at, called))
                if not isinstance(c, ast.Raise): go(c, at, called)
    go(tree, None, '')
    return out

def source_of(module): return ROOT/'mrtl'/f"{module.replace('.', '/')}.py"

def mutant(source, seed, module):
    "The changed tree of a number, and what was changed; None where the place has no other form."
    r = random.Random(f'{module} {seed}'); tree = ast.parse(source)
    parent,field,i,node,lines,name = r.choice([p for p in places(tree) if next(others(p[3]), None) is not None])
    before = ast.unparse(node); new = r.choice([v for v in others(node) if ast.unparse(v)!=before] or [None])
    if new is None: return None
    if i is None: setattr(parent, field, new)
    else: getattr(parent, field)[i] = new
    ast.copy_location(new, node); ast.fix_missing_locations(tree)
    short = lambda n: ' '.join(ast.unparse(n).split())[:150]
    return tree,dict(module=module, seed=seed, where=name, line=getattr(node, 'lineno', lines[0]), lines=lines,
                     before=short(node), after=short(new))

def mutants(module, n):
    "The first `n` different ones."
    source = source_of(module).read_text(); seen,seed = {ast.dump(ast.parse(source))},0
    while n and seed<20*(n+100):
        made = mutant(source, seed, module); seed += 1
        if made is None or (key := ast.dump(made[0])) in seen: continue
        seen.add(key); n -= 1
        yield made

# ---- one run, in a fork

class Instead(importlib.machinery.SourceFileLoader):
    "Loads a module from a changed tree."
    def get_code(self, fullname): return compile(self.tree, self.path, 'exec')
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name!=cls.module: return None
        file = str(source_of(name.partition('.')[2]))
        return importlib.util.spec_from_file_location(name, file, loader=cls(name, file))

def codes(code):
    "Code objects of functions and classes, by name and line."
    out = {}
    for c in code.co_consts:
        if isinstance(c, CodeType): out[c.co_qualname,c.co_firstlineno] = c; out.update(codes(c))
    return out

@lru_cache
def live(file):
    "The functions of a file that live."
    return [f for f in gc.get_objects() if type(f) is FunctionType and f.__code__.co_filename==file]

def put(module, tree, what):
    "Give the functions that live the changed code and defaults; False where what changed stands outside of them."
    file = sys.modules[f'mrtl.{module}'].__file__
    new = codes(compile(tree, file, 'exec'))
    old = codes(compile(Path(file).read_text(), file, 'exec'))
    done = False
    if new.keys()!=old.keys(): return False
    defs = {(n.decorator_list or [n])[0].lineno: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    for f in live(file):
        key = f.__code__.co_qualname,f.__code__.co_firstlineno
        if key not in new or '<locals>' in key[0]: continue
        d = defs.get(key[1])
        if d is not None and d.name==key[0].split('.')[-1] and d.lineno<=what['line']<=d.end_lineno:
            value = lambda e: eval(compile(ast.Expression(e), file, 'eval'), f.__globals__)
            f.__defaults__ = tuple(map(value, d.args.defaults)) or None
            f.__kwdefaults__ = {a.arg: value(e) for a,e in zip(d.args.kwonlyargs, d.args.kw_defaults)
                                if e is not None} or None
            f.__code__ = new[key]; done = True
    for f in vars(sys.modules[f'mrtl.{module}']).values(): getattr(f, 'cache_clear', int)()
    return done

def afresh(module, tree):
    "Import mrtl again, with the changed module; what went wrong."
    for n in [n for n in sys.modules if n.split('.')[0] in ('mrtl','conftest','small_fits') or n.startswith('test_')]:
        del sys.modules[n]
    Instead.module,Instead.tree = f'mrtl.{module}',tree; sys.meta_path.insert(0, Instead)
    try: return importlib.import_module(f'mrtl.{module}') and None
    except Exception as e: return f'import: {type(e).__name__}'

def cells(notebook):
    "The cells that test: those that define the module are left out, since the module itself is imported."
    from nbdev.test import nb_test_cells
    out = [c.source for c in nb_test_cells(ROOT/'nbs'/f'{notebook}.ipynb', skip_flags=['cuda','slow'])]
    return [s for s in out if not re.search(r'^#\|\s*(export\w*|default_exp)\b', s, re.M) and 'nbdev_export' not in s]

def run_cells(module):
    """Run the cells of the notebook in the module's own namespace, as they run in the notebook; the number of the
    first that fails."""
    import matplotlib.pyplot as plt
    ns = sys.modules[f'mrtl.{module}'].__dict__
    before = dict(ns)
    os.chdir((ROOT/'nbs'/f'{MODULES[module][0]}.ipynb').parent)
    ns['display'] = lambda *a, **k: None
    try:
        for i,s in enumerate(cells(MODULES[module][0])):
            try: exec(compile(s, f'cell {i}', 'exec'), ns)
            except Exception: traceback.print_exc(); return f'cell {i}'
    finally: ns.clear(); ns.update(before); os.chdir(ROOT); plt.close('all')

class Trace:
    "Which lines of a file run meanwhile."
    def __init__(self, file): self.file,self.seen = file,set()
    def __call__(self, frame, event, arg): return self.line if frame.f_code.co_filename==self.file else None
    def line(self, frame, event, arg):
        if event=='line': self.seen.add(frame.f_lineno)
        return self.line
    def take(self): v = self.seen; self.seen = set(); return v

def run_items(items, failed, after=lambda item: None):
    "Run collected tests up to the first that fails."
    for i,item in enumerate(items):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=items[i+1] if i+1<len(items) else None)
        after(item)
        if failed: return failed[0]

def fork(work, cpu=None, loud=False):
    "Do something in a fork; its result, or 'timeout' or 'died'."
    read,write = os.pipe(); pid = os.fork()
    if not pid:
        code = 1
        try:
            os.close(read); os.setsid()
            if not loud: null = os.open(os.devnull, os.O_RDWR); [os.dup2(null, k) for k in (0,1,2)]
            if cpu:
                resource.setrlimit(resource.RLIMIT_AS, (16<<30, 16<<30))
                resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu+5))
            text = json.dumps(work())
            with os.fdopen(write, 'w') as f: f.write(text)
            code = 0
        except BaseException: traceback.print_exc()
        finally: os._exit(code)
    os.close(write); text = []
    reader = threading.Thread(target=lambda: text.append(os.fdopen(read).read()))
    reader.start()
    reader.join(20*cpu if cpu else None)
    late = reader.is_alive()
    with contextlib.suppress(ProcessLookupError): os.killpg(pid, signal.SIGKILL)
    _,status,_ = os.wait4(pid, 0); reader.join()
    if text and text[0]: return json.loads(text[0])
    return 'timeout' if late or os.WIFSIGNALED(status) and os.WTERMSIG(status)==signal.SIGXCPU else 'died'

# ---- all mutants of a module, within one session of pytest

class Session:
    "A plugin that runs mutants in place of tests."
    def __init__(self, folder, module, a):
        self.folder,self.module,self.a,self.failed,self.phase,self.shared = folder,module,a,[],None,defaultdict(set)
        self.trace = Trace(str(source_of(module)))

    def pytest_collection_modifyitems(self, items):
        from _pytest.mark.expression import Expression
        said = MODULES[self.module][1]
        def wanted(i):
            k = said[Path(i.path).stem[5:]]
            return i.get_closest_marker('cuda') is None and 'python' not in i.fixturenames and (not k
                    or Expression.compile(k).evaluate(lambda w: w.lower() in i.nodeid.lower()))
        items[:] = [i for i in items if wanted(i)]

    def pytest_runtest_logreport(self, report):
        if report.failed: self.failed.append(report.nodeid)
        if report.when=='setup': self.shared[report.nodeid.split('::')[0]] |= self.trace.take()

    def pytest_runtestloop(self, session):
        self.items = {i.nodeid: i for i in session.items}
        base = self.baseline()
        live(sys.modules[f'mrtl.{self.module}'].__file__)
        self.warm(base)
        old = records(self.folder, self.module)
        print(f"{self.module} as it stands: passes, {len(base['reach'])} tests, "
              f"{sum(base['took'].values()):.0f} s traced", flush=True)
        for tree,what in mutants(self.module, self.a.mutants):
            last = old.get(what['seed'])
            if self.a.only is not None:
                if what['seed']==self.a.only: print(self.attempt(base, tree, what, loud=True))
            elif not last or self.a.again and last['result']=='survived':
                r = self.attempt(base, tree, what)
                with (self.folder/f'{self.module}.jsonl').open('a') as f: f.write(json.dumps(r)+'\n')
        show(self.folder, [self.module], brief=True); sys.stdout.flush()
        return True

    def warm(self, base):
        "Run a little of everything, so that no fork pays for what libraries do once."
        with open(os.devnull, 'w') as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
            run_cells(self.module)
            run_items([self.items[k] for k in chosen(base, (0, 10**6), self.a.budget)[1] if k in self.items],
                      self.failed)
        assert not self.failed, self.failed

    def baseline(self):
        """Run everything on the module as it stands: which test reaches which lines, and how long it takes. Kept
        until a file changes."""
        names = [source_of(self.module), ROOT/'nbs'/f'{MODULES[self.module][0]}.ipynb',
                 *(ROOT/'tests'/f'test_{t}.py' for t in MODULES[self.module][1])]
        digest = hashlib.sha256(b''.join(f.read_bytes() for f in names)+repr(MODULES[self.module]).encode()).hexdigest()
        file = self.folder/f'{self.module}.reach.json'
        if file.exists() and (old := json.loads(file.read_text()))['digest']==digest: return old
        def work():
            reach,took,self.now = {},{},time.process_time()
            sys.settrace(self.trace); bad = run_cells(self.module)
            by_cells = self.trace.take()
            def after(item):
                reach[item.nodeid] = self.trace.take()
                took[item.nodeid] = time.process_time()-self.now
                self.now = time.process_time()
                for f in vars(sys.modules[f'mrtl.{self.module}']).values(): getattr(f, 'cache_clear', int)()
            self.now = time.process_time()
            bad = bad or run_items(list(self.items.values()), self.failed, after)
            sys.settrace(None)
            return dict(bad=bad, cells=sorted(by_cells), reach={k: sorted(v|self.shared[k.split('::')[0]])
                    for k,v in reach.items()}, took=took)
        got = fork(work)
        if isinstance(got, str) or got['bad']:
            sys.exit(f"{self.module} as it stands: {got if isinstance(got, str) else got['bad']}")
        got['digest'] = digest; file.write_text(json.dumps(got))
        return got

    def attempt(self, base, tree, what, loud=False):
        "Run one mutant."
        in_cells,tests = chosen(base, what['lines'], self.a.budget)
        items = [self.items[k] for k in tests if k in self.items]
        def work():
            if put(self.module, tree, what):
                return (in_cells and run_cells(self.module)) or run_items(items, self.failed) or ''
            return afresh(self.module, tree) or run_cells(self.module) or anew(tests) or ''
        t = time.time(); by = fork(work, LIMIT, loud)
        return dict(what, result='timeout' if by=='timeout' else 'killed' if by else 'survived', by=by,
                    seconds=round(time.time()-t, 2), tests=len(tests)+bool(in_cells))

def anew(tests):
    "Run tests in a session of their own; the first that fails."
    import pytest
    class Failed:
        ids = []
        def pytest_runtest_logreport(self, report): self.ids += [report.nodeid]*report.failed
    plugin = Failed(); code = pytest.main([*PYTEST, '-x', *tests], plugins=[plugin]) if tests else 0
    return plugin.ids[0] if plugin.ids else None if code in (0,5) else f'pytest: {int(code)}'

def chosen(base, lines, budget):
    """Do the cells reach one of the lines, and which tests do: one case of each test function, file by file as
    listed, then the second cases ..., as far as the file's part of the budget goes."""
    hit = lambda v: any(lines[0]<=l<=lines[1] for l in v)
    if not any(map(hit, base['reach'].values())): hit = lambda v: True # runs at import only
    order = list(dict.fromkeys(k.split('::')[0] for k in base['reach'])); nth = Counter(); tests = []
    for k in sorted((k for k,v in base['reach'].items() if hit(v)), key=lambda k: base['took'][k]):
        nth[f := k.split('[')[0]] += 1
        tests.append((nth[f], order.index(k.split('::')[0]), base['took'][k], k))
    out,spent = [],Counter()
    for _,f,t,k in sorted(tests):
        if spent[f]+t<=budget/len(order): out.append(k); spent[f] += t
    return hit(base['cells']),out

def records(folder, module):
    "The last line of each mutant."
    file = folder/f'{module}.jsonl'; lines = map(json.loads, file.read_text().splitlines()) if file.exists() else []
    return {r['seed']: r for r in lines}

def reasons():
    "Why survivors may live, by module, place and change."
    return {(r['module'], r['where'], r['before'], r['after']): r['why']
            for r in csv.DictReader(WHY.open())} if WHY.exists() else {}

def show(folder, modules, brief=False):
    why = reasons()
    for m in modules:
        rs = records(folder, m).values()
        n = Counter(r['result'] for r in rs)
        left = [r for r in rs if r['result']=='survived']
        said = {r['seed']: why.get((m, r['where'], r['before'], r['after'])) for r in left}
        if not brief:
            for r in sorted(left, key=lambda r: r['line']): print(f"  {m} {r['seed']} line {r['line']} "
                    f"{r['where']}: {r['before']}  ->  {r['after']}   [{r['tests']}] {said[r['seed']] or '?'}")
        print(f"{m}: {len(rs)} mutants, {n['killed']+n['timeout']} killed ({n['timeout']} by time), {len(left)} "
              f"live, {sum(v is not None for v in said.values())} of them explained; "
              f"{sum(r['seconds'] for r in rs):.0f} s")

PYTEST = ['-q', '-s', '-p', 'no:cacheprovider', '-p', 'no:randomly', '--rootdir', str(ROOT), '-W', 'ignore']

def settle():
    "The same examples each time, and no time lost on small ones."
    from hypothesis import Phase, settings
    settings.register_profile('mutants', derandomize=True, database=None, deadline=None,
                              phases=[Phase.explicit, Phase.generate])
    settings.load_profile('mutants')

def main():
    import pytest
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('folder', type=Path)
    p.add_argument('--modules', default=','.join(MODULES))
    p.add_argument('--mutants', type=int, default=200)
    p.add_argument('--only', type=int)
    p.add_argument('--budget', type=float, default=10., help='seconds of the tests that are tried on a mutant, as '
                   'measured while tracing, about three times what they take')
    p.add_argument('--again', action='store_true')
    p.add_argument('--show', action='store_true')
    a = p.parse_args(); a.folder = a.folder.resolve()
    a.folder.mkdir(parents=True, exist_ok=True)
    modules = a.modules.split(',')
    if a.show: return show(a.folder, modules)
    os.chdir(ROOT); sys.path[:0] = [str(ROOT), str(ROOT/'tests')]
    import torch, xarray, sklearn.base, matplotlib.pyplot, nbdev.test
    torch.set_num_threads(1); settle()
    for m in modules:
        def work():
            importlib.import_module(f'mrtl.{m}')
            return int(pytest.main([*PYTEST, *(f'tests/test_{t}.py' for t in MODULES[m][1])],
                                   plugins=[Session(a.folder, m, a)]))
        fork(work, loud=True)

if __name__=='__main__': main()
