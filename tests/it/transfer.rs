//! Transfer on the real engine: hot windows → archive → cold → proof → cleanup, through the program's own commands.

mod batches;
mod cleanup;
mod contract;
mod counts;
mod crash;
mod damage;
mod encryption;
mod erase;
mod fixtures;
mod foreign;
mod gc;
mod hostile;
mod property;
mod repair;
mod retention;
mod road;
mod s3;
mod tasks;
mod workers;
