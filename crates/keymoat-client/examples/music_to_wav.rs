//! Lets Live Music play for a while, and writes it into a WAV file.
//!
//! ```console
//! $ cargo run --example music_to_wav -- music.wav --prompt "minimal techno" --bpm 110 --seconds 10
//! ```

mod settings;

use std::error::Error;

use hound::{SampleFormat, WavSpec, WavWriter};
use keymoat_client::gemini::{Audio, MusicConfig, MusicEvent, WeightedPrompt};

use settings::Settings;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example tells what it did")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::read()?;
    let [output] = settings.files.as_slice() else {
        return Err(
            "usage: music_to_wav OUT.wav [--prompt TEXT] [--bpm N] [--seconds N] [--url URL] [--credential-file FILE]"
                .into(),
        );
    };
    let model = settings.option("model", "lyria-realtime-exp".to_owned())?;
    let prompt = WeightedPrompt::new(settings.option("prompt", "minimal techno".to_owned())?);
    let seconds: usize = settings.option("seconds", 10)?;
    let config = MusicConfig { bpm: Some(settings.option("bpm", 110)?), ..MusicConfig::default() };

    let mut session = settings.client()?.live().music().connect(&model).await?;
    session.set_prompts(&[prompt]).await?;
    session.set_config(&config).await?;
    session.play().await?;
    let (mut music, mut played): (Vec<Audio>, usize) = (Vec::new(), 0);
    loop {
        match session.receive().await? {
            MusicEvent::Audio(audio) => {
                played += audio.pcm.len();
                let second = usize::try_from(audio.rate().unwrap_or(48_000))? * usize::from(audio.channels()) * 2;
                music.push(audio);
                if played >= seconds * second {
                    break;
                }
            }
            MusicEvent::FilteredPrompt { text, reason } => println!("`{text}` is not played: {reason}"),
            _ => {}
        }
    }
    session.stop().await?;
    session.close().await;

    let first = music.first().ok_or("nothing was played")?;
    let sample_rate = first.rate().unwrap_or(48_000);
    let spec =
        WavSpec { channels: first.channels(), sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(output, spec)?;
    for sample in
        music.iter().flat_map(Audio::samples).take(seconds * usize::try_from(sample_rate)? * usize::from(spec.channels))
    {
        writer.write_sample(sample)?;
    }
    writer.finalize()?;
    println!("{output}: {seconds} s");
    Ok(())
}
