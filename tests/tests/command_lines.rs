//! The command lines of both programs, by their own definitions: help, examples, completions, man pages.

use std::process::Command as Process;

use clap::{Command, CommandFactory};
use distilsweep_tests::fleet::Scene;

/// Columns of a terminal that help is made for.
const WIDTH: usize = 100;

fn programs() -> [Command; 2] {
    [distilsweep::cli::Cli::command(), distilsweep_worker::cli::Cli::command()]
}

/// A command and all below it, each with the words that call it.
fn all(command: &Command) -> Vec<(String, Command)> {
    let mut found = vec![(command.get_name().to_owned(), command.clone())];
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        let name = |(words, command)| (format!("{} {words}", found[0].0), command);
        let below: Vec<_> = all(below).into_iter().map(name).collect();
        found.extend(below);
    }
    found
}

/// The lines that a command's help gives as examples, those that go on joined.
fn examples(command: &Command) -> Vec<String> {
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\\\n", " ")
        .lines()
        .map(|line| line.trim().to_owned())
        .collect()
}

#[test]
fn every_command_shows_an_example_that_its_own_definition_takes() {
    let mut count = 0;
    for program in programs() {
        for (words, command) in all(&program).into_iter().skip(1) {
            let examples = examples(&command);
            assert!(!examples.is_empty(), "`{words} --help` shows no example");
            for example in examples {
                assert!(example.starts_with(&words), "`{example}` is no example of `{words}`");
                // What a shell does with the output is none of the program's arguments.
                let line = example.split(" > ").next().unwrap_or_default();
                let given = shlex::split(line).unwrap_or_else(|| panic!("a shell does not take `{example}`"));
                if let Err(error) = program.clone().try_get_matches_from(given) {
                    panic!("`{example}` is not taken: {error}");
                }
                count += 1;
            }
        }
    }
    assert!(count > 40, "only {count} examples were looked at");
}

#[test]
fn an_example_that_is_none_is_found_out() {
    let [program, _] = programs();
    let given = shlex::split("distilsweep trial halt grid/3").expect("words");
    assert!(program.try_get_matches_from(given).is_err());
    assert!(examples(&Command::new("silent")).is_empty());
}

#[test]
fn help_fits_a_terminal_of_a_hundred_columns_and_the_first_page_tells_the_exit_codes() {
    for program in programs() {
        for (words, command) in all(&program) {
            let help = command.clone().term_width(WIDTH).render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= WIDTH, "`{words} --help` has a line too wide: {line}");
            }
        }
        let first = program.clone().render_help().to_string();
        assert!(first.contains(distilsweep_proto::exit::HELP), "{first}");
    }
}

#[test]
fn a_page_of_the_manual_is_written_for_every_command() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    let directory = scene.path("man1");
    let mut pages = 0;
    for (name, program) in ["distilsweep", "distilsweep-worker"].into_iter().zip(programs()) {
        let written = scene.run(name, &["man", "-o", &directory.to_string_lossy()])?;
        assert_eq!(written.code, Some(0), "{written:?}");
        for (words, command) in all(&program) {
            let page = std::fs::read_to_string(directory.join(format!("{}.1", words.replace(' ', "-"))))?;
            for section in ["NAME", "SYNOPSIS", "OPTIONS"] {
                assert!(page.contains(&format!(".SH {section}\n")), "{words} has no {section}: {page}");
            }
            for example in examples(&command) {
                let examples = page.split(".SH EXAMPLES\n").nth(1).unwrap_or_default();
                let last = example.split(' ').next_back().unwrap_or_default();
                let last = last.replace('-', "\\-").replace('\'', "\\*(Aq");
                assert!(examples.contains(&last), "{words} does not show `{example}`: {page}");
            }
            pages += 1;
        }
        let first = std::fs::read_to_string(directory.join(format!("{name}.1")))?;
        assert!(first.contains("nobody answers where the coordinator should be"), "the exit codes: {first}");
    }
    let rendered = Process::new("man").arg("-l").arg(directory.join("distilsweep-sweep-retry.1")).output();
    match rendered {
        Ok(rendered) => {
            let text = String::from_utf8_lossy(&rendered.stdout).into_owned();
            assert!(rendered.status.success() && text.contains("--failed"), "{rendered:?}");
        }
        Err(error) => eprintln!("skipped: man does not render the {pages} pages: {error}"),
    }
    Ok(())
}

#[test]
fn shells_take_the_completions() -> anyhow::Result<()> {
    let scene = Scene::new()?;
    for name in ["distilsweep", "distilsweep-worker"] {
        for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
            let printed = scene.run(name, &["completions", shell])?;
            assert_eq!(printed.code, Some(0), "{printed:?}");
            assert!(printed.out.contains(name), "{shell}: {printed:?}");
        }
        let script = scene.write(&format!("{name}.bash"), &scene.run(name, &["completions", "bash"])?.out)?;
        let asked = format!("source '{}' && complete -p {name}", script.display());
        match Process::new("bash").args(["--norc", "-c", &asked]).output() {
            Ok(asked) => {
                let said = String::from_utf8_lossy(&asked.stdout).into_owned();
                assert!(asked.status.success() && said.trim_end().ends_with(name), "{asked:?}");
            }
            Err(error) => eprintln!("skipped: bash does not read its completions: {error}"),
        }
    }
    Ok(())
}
