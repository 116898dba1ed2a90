//! Says a WAV file to Gemini Live and writes what it answers into another one.
//!
//! ```console
//! $ cargo run --example wav_in_wav_out -- question.wav answer.wav
//! $ cargo run --example wav_in_wav_out -- question.wav answer.wav \
//!     --url https://127.0.0.1:8789 --ca-file .keymoat/tls/ca.pem --credential-file .keymoat/demo.key
//! ```
//! The question is PCM of 16 bits; 16 kHz and one channel are best.

mod settings;

use std::error::Error;
use std::time::Duration;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};
use keymoat_client::gemini::{Audio, Event, Session, Setup};

use settings::Settings;

/// How much is sent at a time, as a microphone would.
const PIECE: Duration = Duration::from_millis(100);

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "an example tells what it did")]
async fn main() -> Result<(), Box<dyn Error>> {
    let settings = Settings::read()?;
    let [input, output] = settings.files.as_slice() else {
        return Err("usage: wav_in_wav_out IN.wav OUT.wav [--url URL] [--credential-file FILE] [--ca-file FILE]".into());
    };
    let model = settings.option("model", "gemini-2.5-flash-native-audio".to_owned())?;
    let (rate, pcm) = read(input)?;
    let setup = Setup::new(&model).transcribe_output();
    let mut session = settings.client()?.live().connect(setup).await?;
    let answer = talk(&mut session, rate, &pcm).await?;
    session.close().await;
    let samples = write(output, &answer.sound)?;
    println!("{output}: {samples} samples\n{}", answer.text);
    Ok(())
}

/// What came back.
#[derive(Default)]
struct Answer {
    sound: Vec<Audio>,
    text: String,
}

/// Speaks and listens at once, until the model's turn is over.
async fn talk(session: &mut Session, rate: u32, pcm: &[u8]) -> Result<Answer, Box<dyn Error>> {
    let piece = usize::try_from(rate)? * 2 * usize::try_from(PIECE.as_millis())? / 1000;
    let mut pieces = pcm.chunks(piece.max(2));
    let mut microphone = tokio::time::interval(PIECE);
    let (mut is_speaking, mut answer) = (true, Answer::default());
    loop {
        tokio::select! {
            _ = microphone.tick(), if is_speaking => match pieces.next() {
                Some(piece) => session.send_audio_at(rate, piece).await?,
                None => {
                    session.end_audio().await?;
                    is_speaking = false;
                }
            },
            event = session.receive() => match event? {
                Event::Audio(audio) => answer.sound.push(audio),
                Event::OutputTranscription(text) => answer.text.push_str(&text),
                Event::Interrupted => answer = Answer::default(),
                Event::TurnComplete if !is_speaking => return Ok(answer),
                _ => {}
            },
        }
    }
}

/// The file's rate, and its channels mixed into one.
fn read(path: &str) -> Result<(u32, Vec<u8>), Box<dyn Error>> {
    let mut reader = WavReader::open(path)?;
    let spec = reader.spec();
    if spec.bits_per_sample != 16 || spec.sample_format != SampleFormat::Int {
        return Err("the WAV file has to be PCM of 16 bits".into());
    }
    let samples: Vec<i16> = reader.samples().collect::<Result<_, _>>()?;
    let mix = |frame: &[i16]| {
        let sum: i32 = frame.iter().copied().map(i32::from).sum();
        i16::try_from(sum / i32::from(spec.channels.max(1))).unwrap_or_default()
    };
    let mono = samples.chunks(spec.channels.max(1).into()).map(mix);
    Ok((spec.sample_rate, mono.flat_map(i16::to_le_bytes).collect()))
}

/// Writes the answer, and says how long it is.
fn write(path: &str, sound: &[Audio]) -> Result<usize, Box<dyn Error>> {
    let first = sound.first().ok_or("the model said nothing")?;
    let sample_rate = first.rate().unwrap_or(24_000);
    let spec =
        WavSpec { channels: first.channels(), sample_rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(path, spec)?;
    let mut samples = 0;
    for sample in sound.iter().flat_map(Audio::samples) {
        writer.write_sample(sample)?;
        samples += 1;
    }
    writer.finalize()?;
    Ok(samples)
}
