"""`mmlite bench`."""

from running import course

from mmlite import cli


def test_bench_lists_scripts_runs_one_and_passes_its_exit_code(tmp_path, capfd, monkeypatch):
    folder = course(tmp_path, "1")
    (folder / "benchmarks").mkdir()
    script = folder / "benchmarks" / "speed.py"
    script.write_text('"""How fast.\n\nMore."""\nimport sys\nsys.exit("--fail" in sys.argv)\n')
    monkeypatch.chdir(folder)
    assert cli.main(["bench"]) == 0
    assert capfd.readouterr().out.split(maxsplit=1) == ["speed", "How fast.\n"]
    assert cli.main(["bench", "speed"]) == 0
    assert cli.main(["bench", "speed", "--fail"]) == 1
    assert cli.main(["bench", "sped"]) == 2
    assert "there is no benchmark 'sped'; there are: speed" in capfd.readouterr().err
