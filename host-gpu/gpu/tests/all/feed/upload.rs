//! Whole sets on the device: images that cannot be uploaded are named.

use crate::sets::{file, folder_files, tiny_files, write_files};
use clapp_core::shape::Shape;
use clapp_data::data;
use clapp_data::loader::LoaderError;
use clapp_gpu::feed::upload;

#[test]
fn an_upload_takes_images_of_one_shape() {
    let place = tempfile::tempdir().unwrap();
    write_files(place.path(), &folder_files());
    let photos = data::open(place.path()).unwrap().train.measured();
    let refused = upload(&photos, |_, _| Ok::<(), LoaderError>(()), |_| {}).unwrap_err();
    assert!(refused.to_string().contains("must be of one shape"), "{refused}");
}

#[test]
fn an_upload_names_the_first_image_that_is_none() {
    let place = tempfile::tempdir().unwrap();
    let mut files = tiny_files();
    write_files(place.path(), &files);
    let train = data::open(place.path()).unwrap().train.measured();
    assert_eq!(train.shape(), Some(Shape::new(3, 64, 64)));
    for name in ["n01443537_1.JPEG", "n01641577_0.JPEG"] {
        let bytes = file(&mut files, name);
        bytes.truncate(bytes.len() - 2);
    }
    write_files(place.path(), &files);
    let order: Vec<bool> = (0..train.len()).map(|image| train.image(image).is_err()).collect();
    let first = order.iter().position(|bad| *bad).unwrap();
    let expected = train.image(first).unwrap_err().to_string();
    let written = |_: usize, _: &[u8]| -> Result<(), LoaderError> { panic!("nothing is written") };
    let text = upload(&train, written, |_| {}).unwrap_err().to_string();
    assert!(text.starts_with(&expected) && text.ends_with("--skip-bad skips them"), "{text}");
}
