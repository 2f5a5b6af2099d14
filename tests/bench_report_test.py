# SPDX-License-Identifier: MIT
"""The page of bench/report, made of results that are there. python3 bench_report_test.py REPORT.PY DIRECTORY"""
import base64
import html.parser
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

RESULTS = pathlib.Path(sys.argv.pop(2))
REPORT = sys.argv.pop(1)


class Page(html.parser.HTMLParser):
    """The first cell of every row, the pictures, and what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.pictures, self.cell = [], [], [], None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.pictures.append(dict(attrs)["src"])
        elif tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.cell = ""

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag
        if tag == "td" and self.cell is not None:
            self.rows.append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data


class Report(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.source, self.out = pathlib.Path(directory.name, "from"), pathlib.Path(directory.name, "out")
        self.source.mkdir()

    def report(self, source):
        return subprocess.run(
            [sys.executable, REPORT, "--from", str(source), "--out", str(self.out)],
            capture_output=True,
            text=True,
            check=False,
        )

    def page(self):
        return (self.out / "report.html").read_text(encoding="utf-8")

    def test_every_case_has_its_row_and_every_picture_is_one(self):
        done = self.report(RESULTS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        text = self.page()
        page = Page(text)
        self.assertEqual(page.open, [])
        cases = 0
        for file in RESULTS.glob("*.json"):
            for run in json.loads(file.read_text())["benchmarks"]:
                cases += 1
                last = run["run_name"].rsplit("/", 1)[-1]
                self.assertTrue(any(row.endswith(last) for row in page.rows), run["run_name"])
        self.assertGreater(cases, 100)
        self.assertGreaterEqual(len(page.rows), cases)
        self.assertGreater(len(page.pictures), 10)
        for picture in page.pictures:
            self.assertTrue(picture.startswith("data:image/svg+xml;base64,"))
            self.assertIn(b"<svg", base64.b64decode(picture.split(",", 1)[1]))

    def write(self, **counters):
        run = {
            "run_name": "product/cube/64x64x64",
            "run_type": "iteration",
            "label": "FMA peak",
            "%limit": 95.0,
            "%median": 94.0,
            "spread": 1.0,
            "target": 97.0,
            "GFLOP/s": 90.0,
            "BLIS": 90.0,
            "BLIS_median": 89.0,
            "Eigen": 80.0,
            "Eigen_median": 79.0,
            **counters,
        }
        content = {
            "context": {"isa": "avx2", "peer BLIS": "1", "peer Eigen": "2", "peer oneDNN": "not installed"},
            "benchmarks": [run],
        }
        (self.source / "x.json").write_text(json.dumps(content))
        return self.report(self.source)

    def test_a_target_is_missed_or_reached(self):
        self.assertEqual(self.write().returncode, 0)
        self.assertIn("0 of 1 targets are reached", self.page())
        self.assertIn('<td class="own differs">95.0</td>', self.page())
        self.assertEqual(self.write(**{"%limit": 97.5}).returncode, 0)
        self.assertIn("1 of 1 targets are reached", self.page())
        self.assertIn('<td class="own pass">97.5</td>', self.page())

    def test_the_best_peer_is_named_and_an_absent_one_is_too(self):
        self.write()
        self.assertIn('<td class="best">90.0</td><td>80.0</td><td>1.06</td>', self.page())
        self.assertIn("<td>90.0 BLIS</td><td>1.06</td>", self.page())
        self.assertTrue(re.search("<td>oneDNN</td><td class=\"text\">not installed</td>", self.page()))

    def test_a_case_that_failed_is_shown_and_fails_the_report(self):
        done = self.write(error_occurred=True, error_message="<wrong>")
        self.assertEqual(done.returncode, 1)
        self.assertIn("&lt;wrong&gt;", self.page())
        self.assertEqual(Page(self.page()).open, [])

    def test_bad_input_is_one_line(self):
        done = self.report(self.source)
        self.assertEqual(
            (done.returncode, done.stderr),
            (2, f"report: {self.source}: no results: expected JSON files of ferrite_bench\n"),
        )
        for content in ("{", "[]", "{}", '{"benchmarks": [1], "context": {}}'):
            (self.source / "x.json").write_text(content)
            done = self.report(self.source)
            self.assertEqual(done.returncode, 2)
            self.assertEqual(done.stdout, "")
            self.assertTrue(
                done.stderr.startswith(f"report: {self.source}/x.json: expected a JSON file of ferrite_bench ("),
                done.stderr,
            )
            self.assertEqual(done.stderr.count("\n"), 1)


unittest.main(argv=[sys.argv[0]], verbosity=0)
