//! Help, man pages, completions, and mistakes on the command line.

use crate::home::Home;

/// Every command.
const COMMANDS: [&str; 58] = [
    "",
    "digest",
    "sign",
    "verify",
    "inspect",
    "attest",
    "evaluate",
    "approve",
    "reject",
    "revoke",
    "permit",
    "permit list",
    "permit show",
    "key",
    "key generate",
    "key public",
    "roles",
    "roles sign",
    "roles show",
    "roles diff",
    "roles publish",
    "roles add",
    "roles end",
    "roles rotate",
    "roles lost",
    "serve",
    "serve init",
    "serve trust",
    "serve renew",
    "serve tuf",
    "serve tuf init",
    "serve tuf status",
    "serve tuf rotate",
    "serve tuf sign",
    "serve tuf publish",
    "trust",
    "trust fetch",
    "log",
    "log witness",
    "log monitor",
    "find",
    "import",
    "doctor",
    "policy",
    "policy test",
    "policy eval",
    "policy lint",
    "policy fuzz",
    "policy explain",
    "policy diff",
    "policy digest",
    "policy build",
    "policy sign",
    "policy verify",
    "policy serve",
    "admission",
    "demo",
    "completions",
];

#[test]
fn help_fits_a_terminal_and_has_no_colours_in_a_pipe() {
    let home = Home::new();
    for command in COMMANDS.into_iter().chain(["man"]) {
        for help in ["--help", "-h"] {
            // However wide the terminal claims to be.
            let line = format!("{command} {help}");
            let mut run = home.command(line.split_whitespace());
            let ran = crate::home::Ran::of(run.env("COLUMNS", "300")).succeeded();
            let widest = ran.stdout.lines().max_by_key(|line| line.chars().count()).unwrap();
            assert!(widest.chars().count() <= 100, "{command}: {widest}");
            assert!(!ran.stdout.contains('\x1b'), "{command}");
            assert!(ran.stdout.contains("Usage: sealwright"), "{command}");
            assert_eq!(ran.stderr, "", "{command}");
        }
    }
    assert!(home.must("--help").stdout.contains("Exit codes: 0 accepted or done, 1 verification"));
    assert!(home.must("--version").stdout.starts_with("sealwright 0."));
}

#[test]
fn every_command_is_in_the_test_above() {
    let home = Home::new();
    let help = home.must("--help").stdout;
    let listed = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
        let name = line.split_whitespace().next().unwrap();
        assert!(["help", "man"].contains(&name) || COMMANDS.contains(&name), "{name}");
    }
}

#[test]
fn man_pages_are_written() {
    let home = Home::new();
    std::fs::create_dir(home.path("man1")).unwrap();
    let value = home.json("man man1");
    let pages = home.list("man1");
    assert_eq!(value["pages"], pages.len());
    for command in COMMANDS {
        let name = format!("sealwright {command}");
        let page = name.trim_end().replace(' ', "-") + ".1";
        assert!(pages.contains(&page), "{page}: {pages:?}");
        let text = String::from_utf8(home.read(format!("man1/{page}"))).unwrap();
        assert!(text.contains(".SH NAME") && text.contains(".TH"), "{page}");
    }
    assert!(home.must("man man1").stdout.contains("pages in man1"));
}

#[test]
fn completions_are_scripts() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.must(&format!("completions {shell}")).stdout;
        assert!(script.contains("sealwright") && script.contains("admission"), "{shell}");
    }
    // Bash at least is there to ask.
    home.write("script", home.must("completions bash").stdout);
    home.tool("bash", &["-n", "script"]);
    let complete = "source ./script; COMP_WORDS=(sealwright ver); COMP_CWORD=1; \
                    _sealwright sealwright ver sealwright; echo ${COMPREPLY[@]}";
    assert_eq!(home.tool("bash", &["-c", complete]), b"verify\n");
    home.run("completions tcsh").failed(2, "tcsh");
}

#[test]
fn mistakes_on_the_command_line_are_errors_like_all_others() {
    let home = Home::new();
    for (line, said, hint) in [
        ("sing model", "unrecognized subcommand 'sing'", "'sign'"),
        ("sign", "--key <REF> <MODEL>", "usage: sealwright sign"),
        ("sign model", "--key <REF>", "usage: sealwright sign"),
        ("sign model --kye x", "unexpected argument '--kye'", ""),
        ("digest a b", "unexpected argument 'b'", "usage: sealwright digest"),
        ("serve --listen nowhere", "invalid value 'nowhere' for '--listen", "--help"),
        ("key generate --algorithm rsa", "possible values: p256, p384, p521", "--help"),
        ("verify model", "required", "usage: sealwright verify"),
        ("verify model --key k", "--bundle <FILE>", "usage: sealwright verify"),
        ("verify model --policy starter --attestation x", "--checkpoint", "usage:"),
    ] {
        let ran = home.run(line);
        ran.failed(2, said);
        let last = ran.stderr.lines().last().unwrap();
        assert!(last.contains(hint), "{hint:?}: {ran:#?}");
        home.run(&format!("--json {line}")).failed_json(2, said);
        home.run(&format!("{line} --json")).failed_json(2, said);
    }
    // A command that is not complete shows its help.
    for line in ["", "key", "log", "policy", "roles", "trust", "serve tuf"] {
        let ran = home.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""));
        assert!(ran.stderr.contains("Usage: sealwright"), "{ran:#?}");
        home.run(&format!("--json {line}")).failed_json(2, "a command is missing");
    }
}
