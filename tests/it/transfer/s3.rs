//! The archive in a bucket of a real S3-compatible store.

use std::time::Instant;

use crate::support::s3::{S3, SECRET};
use crate::support::transfer::{World, output_text};

#[test]
fn the_whole_road_on_a_bucket_and_cold_is_rebuilt_from_nothing_else() {
    let s3 = S3::start();
    let world = World::on(&s3.section("road"), "");
    for hour in 5..8 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            hour * 10_000,
            5_000,
        );
    }
    let state = world.state("hot.trades");
    assert!(
        world
            .succeed(&["sync", "--dry-run", "--dataset", "trades"])
            .contains("2026-01-01T05")
    );
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    assert_eq!(world.state("cold.trades"), state);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    assert_eq!(world.leftovers("hot") + &world.leftovers("cold"), "");
    // Late rows become a generation of their own.
    world.insert_trades("trades", "2026-01-01 06", 90_000, 100);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    for against in [&["verify", "--deep"][..], &["verify", "--against", "cold"]] {
        assert!(world.succeed(against).contains("3 windows"));
    }
    assert!(world.succeed(&["inspect"]).contains("trades"));
    let state = world.state("cold.trades");
    world.sql("TRUNCATE TABLE cold.trades");
    world.succeed(&["import", "--dataset", "trades"]);
    assert_eq!(world.state("cold.trades"), state);
    assert!(world.files("").is_empty(), "nothing lies in a folder");
}

#[test]
fn two_workers_on_one_bucket_share_the_windows_and_double_nothing() {
    let s3 = S3::start();
    let world = World::on(&s3.section("shared"), "");
    for hour in 0..8 {
        world.insert_trades(
            "trades",
            &format!("2026-01-01 0{hour}"),
            hour * 10_000,
            1_000,
        );
    }
    let state = world.state("hot.trades");
    let arguments = ["sync", "--dataset", "trades", "--cleanup"];
    let workers = [0; 2].map(|_| world.command(&arguments).spawn().unwrap());
    for worker in workers {
        let output = worker.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output_text(&output));
    }
    world.succeed(&arguments);
    assert_eq!(world.state("cold.trades"), state);
    assert_eq!(world.number("SELECT count() FROM hot.trades"), 0);
    world.succeed(&["verify", "--deep", "--against", "cold"]);
}

#[test]
fn a_bucket_over_tls_is_reached_with_an_authority_of_one_s_own_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    let (certificate, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let s3 = S3::start_with(Some((&certificate, &key)));
    let section = s3.secure_section("tls", &certificate);
    let world = World::on(&section, "");
    world.insert_trades("trades", "2026-01-01 05", 1, 1_000);
    world.succeed(&["sync", "--dataset", "trades", "--cleanup"]);
    world.succeed(&["verify", "--deep"]);
    let untrusted = section.replace(&format!("s3_tls_ca_file: {}, ", certificate.display()), "");
    let world = World::on(&untrusted, "");
    let said = world.fail(1, &["export", "--dataset", "trades"]);
    assert!(
        said.contains("was not reached: check archive.s3_endpoint"),
        "{said}"
    );
    assert!(said.contains("certificate"), "{said}");
}

#[test]
fn a_wrong_key_and_a_missing_bucket_are_named_and_no_secret_is_printed() {
    let s3 = S3::start();
    let good = s3.section("x");
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("credentials");
    crate::support::write_secret(
        &other,
        format!("[archive]\naws_access_key_id = unknown\naws_secret_access_key = {SECRET}\n"),
    );
    let start = good.find("s3_credentials_file: ").unwrap();
    let wrong_key = format!(
        "{}s3_credentials_file: {}, s3_profile: archive}}",
        &good[..start],
        other.display()
    );
    let no_bucket = good.replace("s3://archive/", "s3://no-such-bucket/");
    for (section, said) in [
        (wrong_key, "does not let this key"),
        (no_bucket, "no-such-bucket"),
    ] {
        let world = World::on(&section, "");
        let output = world.run(&["export", "--dataset", "trades", "--log", "debug"]);
        let all = output_text(&output);
        assert!(!output.status.success(), "{all}");
        assert!(all.contains(said), "{all}");
        assert!(!all.contains(SECRET), "{all}");
        assert!(!all.contains("<?xml"), "{all}");
    }
}

#[test]
fn the_upload_rate_that_is_set_holds() {
    let s3 = S3::start();
    let rate = 200_000;
    let section =
        s3.section("paced")
            .replacen('{', &format!("{{upload_bytes_per_second: {rate}, "), 1);
    let world = World::on(&section, "");
    world.insert_trades("trades", "2026-01-01 05", 1, 60_000);
    let started = Instant::now();
    let report = world.report(&["export", "--dataset", "trades"]);
    let bytes = report["windows"][0]["archive_bytes"].as_f64().unwrap();
    let least = bytes / f64::from(rate) - 0.5;
    assert!(least > 0.5, "{bytes} bytes are too few to tell");
    assert!(
        started.elapsed().as_secs_f64() > least,
        "{bytes} bytes in {:?}",
        started.elapsed()
    );
}
