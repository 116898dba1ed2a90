//! The examples, as their own processes.
#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::path::Path;
use std::process::Output;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use tokio::process::Command;

use crate::support::{Bench, KEY};

/// Runs an example, which cargo builds with the tests, on the emulator.
async fn run(bench: &Bench, name: &str, folder: &Path, arguments: &[&str]) -> Output {
    let built = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples").join(name);
    std::fs::write(folder.join("key"), format!("{KEY}\n")).unwrap();
    let url = bench.endpoint().to_string();
    let mut command = Command::new(built);
    command.args(arguments).args(["--url", &url, "--credential-file", "key"]).current_dir(folder);
    let output = command.output().await.unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains(KEY));
    output
}

fn read(path: &Path) -> (WavSpec, Vec<i16>) {
    let mut reader = WavReader::open(path).unwrap();
    (reader.spec(), reader.samples().map(Result::unwrap).collect())
}

#[tokio::test]
async fn a_wav_file_goes_in_and_another_comes_out() {
    let (bench, folder) = (Bench::start().await, tempfile::tempdir().unwrap());
    let spec = WavSpec { channels: 2, sample_rate: 16_000, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(folder.path().join("in.wav"), spec).unwrap();
    for n in 0..16_000 / 2 {
        let sample = if n / 20 % 2 == 0 { 8000_i16 } else { -8000 };
        writer.write_sample(sample).unwrap();
        writer.write_sample(sample).unwrap();
    }
    writer.finalize().unwrap();
    let output = run(&bench, "wav_in_wav_out", folder.path(), &["in.wav", "out.wav"]).await;
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("500 ms") && said.contains("16000"), "it heard half a second at 16 kHz: {said}");
    let (spec, samples) = read(&folder.path().join("out.wav"));
    assert_eq!((spec.sample_rate, spec.channels), (24_000, 1));
    assert!(samples.len() > 2400 && samples.iter().any(|sample| *sample != 0));
}

#[tokio::test]
async fn music_is_written_into_a_wav_file() {
    let (bench, folder) = (Bench::start().await, tempfile::tempdir().unwrap());
    let arguments = ["music.wav", "--seconds", "2", "--prompt", "harp", "--bpm", "90"];
    let output = run(&bench, "music_to_wav", folder.path(), &arguments).await;
    assert!(output.status.success(), "{output:?}");
    let (spec, samples) = read(&folder.path().join("music.wav"));
    assert_eq!((spec.sample_rate, spec.channels, samples.len()), (48_000, 2, 2 * 2 * 48_000));
    assert!(samples.iter().any(|sample| *sample != 0));
}

#[tokio::test]
async fn what_is_wrong_is_told() {
    let (bench, folder) = (Bench::start().await, tempfile::tempdir().unwrap());
    let output = run(&bench, "wav_in_wav_out", folder.path(), &["in.wav"]).await;
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("usage"), "{output:?}");
    let output = run(&bench, "music_to_wav", folder.path(), &["x.wav", "--model", "gemini-x"]).await;
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("1008"), "{output:?}");
}
