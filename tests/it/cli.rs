//! What the command line says: help, errors, exit codes.

use std::process::{Command, Output};

use crate::support::{free_port, mpsync};

fn run(args: &[&str], environment: &[(&str, &str)]) -> Output {
    mpsync()
        .args(args)
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error_line(output: &Output) -> String {
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let from = stderr
        .find("error: ")
        .unwrap_or_else(|| panic!("no error in: {stderr}"));
    stderr[from..].trim_end().to_owned()
}

#[test]
fn the_help_of_every_command_is_as_documented() {
    let mut all = stdout(&run(&["--help"], &[]));
    let commands: Vec<String> = all
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect();
    assert!(commands.contains(&"sync".to_owned()), "{all}");
    for command in commands {
        let output = run(&[&command, "--help"], &[]);
        assert!(output.status.success());
        all = format!(
            "{all}\n======== mpsync {command} ========\n{}",
            stdout(&output)
        );
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_broken_configuration_key_says_file_line_and_key_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mpsync.yaml");
    std::fs::write(
        &path,
        "nats:\n  url: nats://127.0.0.1:4222\nhot_storage:\n  clickhouse_hots: db\n",
    )
    .unwrap();
    let output = run(
        &["--config", path.to_str().unwrap(), "config", "check"],
        &[],
    );
    assert_eq!(output.status.code(), Some(2));
    let text = error_line(&output).replace(folder.path().to_str().unwrap(), "FOLDER");
    insta::assert_snapshot!(text);
}

#[test]
fn a_server_that_is_not_there_is_named_with_what_to_look_at() {
    // Nobody listens on it.
    let port = free_port().to_string();
    let environment = [("MPSYNC__HOT_STORAGE__CLICKHOUSE_HTTP_PORT", port.as_str())];
    let output = run(&["schema", "apply", "--tier", "hot"], &environment);
    assert_eq!(output.status.code(), Some(1));
    let text = error_line(&output).replace(&port, "PORT");
    insta::assert_snapshot!(text);
}

#[test]
fn a_dataset_that_does_not_exist_names_those_that_do_and_exits_2() {
    let output = run(
        &["schema", "show", "--tier", "hot", "--dataset", "trade"],
        &[],
    );
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(error_line(&output));
}

#[test]
fn completions_are_written_for_a_shell() {
    let output = run(&["completions", "bash"], &[]);
    assert!(output.status.success());
    let checked = Command::new("bash")
        .args(["-n", "/dev/stdin"])
        .stdin(std::process::Stdio::piped())
        .spawn();
    let mut bash = checked.unwrap();
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), &output.stdout).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn an_installation_has_the_program_a_page_for_each_command_and_completions() {
    let folder = tempfile::tempdir().unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install");
    let installed = Command::new(script)
        .arg(env!("CARGO_BIN_EXE_mpsync"))
        .arg("/usr")
        .env("DESTDIR", folder.path())
        .status()
        .unwrap();
    assert!(installed.success());
    let below = |path: &str| folder.path().join("usr").join(path);
    let version = Command::new(below("bin/mpsync"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.status.success());
    for page in ["mpsync", "mpsync-run", "mpsync-sync", "mpsync-config-show"] {
        let path = below(&format!("share/man/man1/{page}.1"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(text.contains(".TH"), "{page}");
    }
    for script in [
        "bash-completion/completions/mpsync",
        "zsh/site-functions/_mpsync",
        "fish/vendor_completions.d/mpsync.fish",
    ] {
        assert!(below(&format!("share/{script}")).metadata().unwrap().len() > 0);
    }
}

#[test]
fn the_configuration_is_shown_with_its_sources_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mpsync.yaml");
    std::fs::write(&path, "hot_storage: {clickhouse_password: hunter2}\n").unwrap();
    let arguments = ["--config", path.to_str().unwrap(), "config", "show"];
    let environment = [("MPSYNC__SYNC__BATCH_HOURS", "7")];
    let table = stdout(&run(&arguments, &environment));
    let json = stdout(&run(
        &[&arguments[..], &["--output", "json", "--log", "warn"]].concat(),
        &environment,
    ));
    assert!(!table.contains("hunter2") && !json.contains("hunter2"));
    assert!(table.contains("hot_storage.clickhouse_password"), "{table}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let found = |key: &str| {
        let all = json["settings"].as_array().unwrap();
        let setting = all.iter().find(|s| s["key"] == key).unwrap();
        format!(
            "{} {}",
            setting["value"],
            setting["source"].as_str().unwrap()
        )
    };
    let place = format!("{}:1:36", path.display());
    assert_eq!(
        found("hot_storage.clickhouse_password"),
        format!("\"***\" {place}")
    );
    assert_eq!(
        found("sync.max_hours_per_run"),
        "7 environment variable MPSYNC__SYNC__BATCH_HOURS"
    );
    assert_eq!(found("logging.level"), "\"warn\" --log");
    assert_eq!(found("archive.zstd_level"), "3 default");
}

#[test]
fn what_is_wrong_with_files_of_datasets_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mpsync.yaml");
    let yaml = "datasets: {files: [a.yaml, b.yaml]}\n";
    std::fs::write(&path, yaml).unwrap();
    let arguments = ["--config", path.to_str().unwrap(), "config", "check"];
    let text = error_line(&run(&arguments, &[]));
    assert!(
        text.contains("2 mistakes") && text.contains("a.sql") && text.contains("b.sql"),
        "{text}"
    );
    std::fs::write(&path, "ingest: {batches: {trade: {batch_size: 5}}}\n").unwrap();
    let output = run(&arguments, &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = error_line(&output);
    assert!(
        text.contains(":1:40: ingest.batches.trade") && text.contains("`trades`"),
        "{text}"
    );
}

#[test]
fn log_lines_go_to_the_file_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("logs/mpsync.log");
    let environment = [
        ("MPSYNC__LOGGING__FILE", file.to_str().unwrap()),
        ("MPSYNC__LOGGING__ROTATION", "never"),
        ("MPSYNC__HOT_STORAGE__CLICKHOUSE_HOST", "db.example"),
        ("ENVIRONMENT", "staging"),
    ];
    let output = run(&["config", "check"], &environment);
    assert!(output.status.success() && output.stderr.is_empty());
    let log = std::fs::read_to_string(&file).unwrap();
    let line: serde_json::Value = serde_json::from_str(log.trim_end()).unwrap();
    assert_eq!(line["level"], "WARN");
    assert!(
        line["message"]
            .as_str()
            .unwrap()
            .contains("without a password")
    );
}
