//! Transfer on the real engine: hot windows → archive → cold → proof → cleanup, through the program's own commands.

mod cleanup;
mod contract;
mod crash;
mod damage;
mod encryption;
mod foreign;
mod property;
mod road;
mod s3;
mod tasks;
mod workers;
