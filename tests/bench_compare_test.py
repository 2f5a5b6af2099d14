# SPDX-License-Identifier: MIT
"""bench/compare on made-up results. python3 bench_compare_test.py COMPARE"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

COMPARE = sys.argv.pop(1)


def run(name, index=0, **counters):
    return {
        "name": name,
        "run_name": name,
        "run_type": "iteration",
        "repetition_index": index,
        "real_time": 10.0,
        "cpu_time": 10.0,
        "time_unit": "us",
        **counters,
    }


def file_of(*runs, **context):
    return {"context": {"processor": "P", "isa": "avx2", "compiler": "c", **context}, "benchmarks": list(runs)}


class Compare(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def compare(self, a, b, *options):
        paths = []
        for name, content in (("A.json", a), ("B.json", b)):
            paths.append(os.path.join(self.directory.name, name))
            if content is None:
                paths[-1] += ".missing"
                continue
            with open(paths[-1], "w", encoding="utf-8") as file:
                file.write(content if isinstance(content, str) else json.dumps(content))
        done = subprocess.run([COMPARE, *paths, *options], capture_output=True, text=True, check=False)
        self.error = done.stderr.replace(self.directory.name + "/", "")
        self.out = done.stdout
        return done.returncode

    def refused(self, a, b, line):
        self.assertEqual(self.compare(a, b), 2)
        self.assertEqual(self.out, "")
        self.assertEqual(self.error, f"compare: {line}\n")

    def test_equal_files(self):
        a = file_of(run("x", **{"%median": 90.0, "spread": 1.0}), run("y", cycles_median=1000.0, spread=1.0), run("z"))
        self.assertEqual(self.compare(a, a), 0)
        self.assertEqual(self.out, "3 cases: 0 regressed, 0 better, 3 equal within noise\n")

    def test_a_lower_share_beyond_noise_is_a_regression(self):
        a, b = (file_of(run("x", **{"%median": value, "spread": 1.0})) for value in (90.0, 80.0))
        self.assertEqual(self.compare(a, b), 1)
        self.assertIn("REGRESSION  x", self.out)
        self.assertEqual(self.compare(b, a), 0)
        self.assertIn("better      x", self.out)

    def test_more_cycles_are_a_regression(self):
        a, b = (file_of(run("x", cycles_median=value, spread=1.0)) for value in (1000.0, 1200.0))
        self.assertEqual(self.compare(a, b), 1)
        self.assertEqual(self.compare(b, a), 0)

    def test_more_time_is_a_regression_where_there_is_nothing_else(self):
        a, b = file_of(run("x")), file_of({**run("x"), "real_time": 12.0})
        self.assertEqual(self.compare(a, b), 1)
        self.assertEqual(self.compare(b, a), 0)

    def test_the_share_has_the_last_word_over_the_time(self):
        a = file_of({**run("x", **{"%median": 90.0, "spread": 1.0})})
        b = file_of({**run("x", **{"%median": 90.0, "spread": 1.0}), "real_time": 20.0})
        self.assertEqual(self.compare(a, b), 0)

    def test_within_the_spread_of_the_blocks(self):
        a, b = (file_of(run("x", **{"%median": value, "spread": 5.0})) for value in (90.0, 80.0))
        self.assertEqual(self.compare(a, b), 0)

    def test_within_the_range_of_the_repetitions(self):
        values = (90.0, 80.0, 95.0)
        a = file_of(*(run("x", i, **{"%median": v, "spread": 0.1}) for i, v in enumerate(values)))
        b = file_of(*(run("x", i, **{"%median": v - 10, "spread": 0.1}) for i, v in enumerate(values)))
        self.assertEqual(self.compare(a, b), 0)

    def test_beyond_the_range_of_the_repetitions(self):
        a = file_of(*(run("x", i, **{"%median": 90.0 + i, "spread": 2.0}) for i in range(3)))
        b = file_of(*(run("x", i, **{"%median": 80.0 + i, "spread": 2.0}) for i in range(3)))
        self.assertEqual(self.compare(a, b), 1)

    def test_a_small_change_never_counts(self):
        a, b = (file_of(run("x", **{"%median": value, "spread": 0.0})) for value in (90.0, 88.0))
        self.assertEqual(self.compare(a, b), 0)
        self.assertEqual(self.compare(a, b, "--least", "1"), 1)

    def test_aggregates_are_left_out(self):
        runs = [run("x", **{"%median": 90.0, "spread": 1.0})]
        mean = {**run("x_mean", **{"%median": 10.0}), "run_name": "x", "run_type": "aggregate"}
        self.assertEqual(self.compare(file_of(*runs), file_of(*runs, mean)), 0)

    def test_a_missing_case_is_a_regression_and_a_new_one_is_not(self):
        a, b = file_of(run("x"), run("y")), file_of(run("x"))
        self.assertEqual(self.compare(a, b), 1)
        self.assertIn("REGRESSION  y  missing in B", self.out)
        self.assertEqual(self.compare(b, a), 0)
        self.assertIn("new         y", self.out)

    def test_another_machine_is_told(self):
        self.assertEqual(self.compare(file_of(run("x")), file_of(run("x"), isa="avx512")), 0)
        self.assertIn("note: isa: avx2 in A, avx512 in B", self.out)

    def test_bad_arguments_are_one_line(self):
        for words, line in (
            (["A.json"], "the following arguments are required: B.json"),
            (["A.json", "B.json", "--least", "x"], "argument --least: invalid float value: 'x'"),
            (["A.json", "B.json", "--least", "-1"], "--least -1.0: expected percent, at least 0"),
        ):
            done = subprocess.run([COMPARE, *words], capture_output=True, text=True, check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (2, "", f"compare: {line}\n"))

    def test_bad_input_is_one_line(self):
        good = file_of(run("x", **{"%median": 90.0}))
        self.refused(None, good, "A.json.missing: No such file or directory")
        self.refused(good, None, "B.json.missing: No such file or directory")
        self.refused(
            "{", good, "A.json: not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
        )
        self.refused(good, "[" * 100000, "B.json: not JSON: nested too deeply")
        self.refused([], good, 'A.json: no list "benchmarks": expected a JSON file of ferrite_bench')
        self.refused({"benchmarks": 1}, good, 'A.json: no list "benchmarks": expected a JSON file of ferrite_bench')
        self.refused(good, file_of(), "B.json: holds no benchmark")
        self.refused(good, file_of(3), "B.json: benchmark 0 has no name")
        self.refused(
            good, file_of(run("x", **{"%median": "fast"})), 'B.json: x: %median is "fast", expected a positive number'
        )
        self.refused(
            good,
            file_of(run("x", **{"%median": float("nan")})),
            "B.json: x: %median is NaN, expected a positive number",
        )
        self.refused(
            good, file_of({**run("x"), "error_occurred": True, "error_message": "wrong"}), "B.json: x failed: wrong"
        )
        self.refused(good, file_of({"name": "x"}), "B.json: x has neither %median nor cycles_median nor real_time")
        self.refused(
            good, file_of(run("x", cycles_median=5.0)), "B.json: x is in cycles, but in % of the limit in A.json"
        )


unittest.main(argv=[sys.argv[0]], verbosity=0)
