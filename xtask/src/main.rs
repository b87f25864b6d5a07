//! Every development command of netpol, as `cargo xtask <command>`. This file parses and dispatches.

mod bench;
mod build;
mod ci;
mod cluster;
mod demo;
mod image;
mod process;
mod project;
mod setup;
mod shipped;
mod test;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every development command of netpol.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Demo(demo::Arguments),
    Test(test::Arguments),
    Bench(bench::Arguments),
    Cluster(cluster::Arguments),
    Image(image::Arguments),
    Ci(ci::Arguments),
}

/// The names of all commands, for checking what the documents say.
fn command_names() -> Vec<String> {
    use clap::CommandFactory as _;
    Arguments::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Build(arguments) => build::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Image(arguments) => image::run(&arguments),
        Command::Ci(arguments) => ci::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
