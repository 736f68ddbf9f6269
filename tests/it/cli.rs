//! What the command line says: help, errors, exit codes.

use std::process::{Command, Output};

use crate::support::mpsync;

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
    // A port that was free a moment ago: nobody listens on it.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let port = port.to_string();
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
