//! Plane figures: which points belong to them, and painting them with smooth edges.

use super::SIZE;

/// Points along each axis at which a pixel is asked whether it belongs to a figure.
const SAMPLES: usize = 3;
/// A form reaches this far from its centre, in radii.
const REACH: f32 = 1.2;

/// An outline in the plane, about as large as the unit disc, and perhaps a texture within it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    Disc,
    Ring,
    Triangle,
    Square,
    Cross,
    Star,
    Crescent,
    Stripes,
    Checker,
    Dots,
    /// A long bar: clutter and occlusion only.
    Bar,
}

impl Form {
    /// The classes of the generated set, in the order of their labels.
    pub const CLASSES: [Self; 10] = [
        Self::Disc,
        Self::Ring,
        Self::Triangle,
        Self::Square,
        Self::Cross,
        Self::Star,
        Self::Crescent,
        Self::Stripes,
        Self::Checker,
        Self::Dots,
    ];
    /// The forms without texture.
    pub const OUTLINES: [Self; 7] =
        [Self::Disc, Self::Ring, Self::Triangle, Self::Square, Self::Cross, Self::Star, Self::Crescent];

    /// Name of the class.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Triangle => "triangle",
            Self::Square => "square",
            Self::Cross => "cross",
            Self::Star => "star",
            Self::Crescent => "crescent",
            Self::Stripes => "stripes",
            Self::Checker => "checker",
            Self::Dots => "dots",
            Self::Bar => "bar",
        }
    }

    /// Returns `true` if the texture of the form is its first colour at `(x, y)`, in its own units. Outlines have one
    /// colour.
    fn is_first(self, x: f32, y: f32) -> bool {
        // Distance from the nearest whole number: a wave between 0 and 1/2.
        let wave = |value: f32| (value - value.round()).abs();
        match self {
            Self::Stripes => wave(x) < 0.25,
            Self::Checker => (wave(0.5 * x) < 0.25) == (wave(0.5 * y) < 0.25),
            Self::Dots => wave(x).powi(2) + wave(y).powi(2) < 0.11,
            _ => true,
        }
    }

    /// Returns `true` if `(x, y)` is within the outline.
    fn holds(self, x: f32, y: f32) -> bool {
        let square_radius = x * x + y * y;
        match self {
            Self::Disc | Self::Stripes | Self::Checker | Self::Dots => square_radius < 1.0,
            Self::Ring => square_radius < 1.1 && square_radius > 0.36,
            Self::Triangle => sides_past(x, y, 0.58, &TRIANGLE) == 0,
            Self::Square => x.abs() < 0.84 && y.abs() < 0.84,
            Self::Cross => (x.abs() < 0.34 && y.abs() < 1.08) || (y.abs() < 0.34 && x.abs() < 1.08),
            // A pentagram: every point of a star lies past at most one of its five lines.
            Self::Star => sides_past(x, y, 0.37, &PENTAGON) <= 1,
            Self::Crescent => square_radius < 1.1 && (x - 0.62).powi(2) + y * y > 0.64,
            Self::Bar => x.abs() < 0.2 && y.abs() < 1.0,
        }
    }
}

/// Directions of the sides of a triangle.
const TRIANGLE: [(f32, f32); 3] = [(0.0, -1.0), (0.866_025_4, 0.5), (-0.866_025_4, 0.5)];
/// Directions of the sides of a pentagon.
const PENTAGON: [(f32, f32); 5] = [
    (0.0, -1.0),
    (0.951_056_5, -0.309_017),
    (0.587_785_25, 0.809_017),
    (-0.587_785_25, 0.809_017),
    (-0.951_056_5, -0.309_017),
];

/// Counts the lines at `distance` from the centre, across `directions`, that have `(x, y)` beyond them.
fn sides_past(x: f32, y: f32, distance: f32, directions: &[(f32, f32)]) -> usize {
    directions.iter().filter(|(dx, dy)| x * dx + y * dy > distance).count()
}

/// A form somewhere in the image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure {
    /// Outline.
    pub outline: Form,
    /// Texture; an outline stands for none.
    pub texture: Form,
    /// Column and row of the centre, in pixels.
    pub centre: [f32; 2],
    /// Radius along the figure's own axes, in pixels.
    pub radius: [f32; 2],
    /// Rotation in radians.
    pub angle: f32,
    /// Length of a period of the texture, in pixels, and its place in it, in periods.
    pub period: f32,
    /// See `period`.
    pub phase: f32,
    /// The figure's colour, and its texture's second one.
    pub colours: [[f32; 3]; 2],
}

impl Figure {
    /// Paints the figure over `canvas`, planes `[3, SIZE, SIZE]`.
    pub fn paint(&self, canvas: &mut [f32]) {
        let (sin, cos) = (libm::sinf(self.angle), libm::cosf(self.angle));
        let reach = REACH * self.radius[0].max(self.radius[1]);
        // Casts saturate: a figure outside the image has no rows or no columns.
        let range = |centre: f32| (centre - reach) as usize..((centre + reach) as usize).saturating_add(1).min(SIZE);
        for row in range(self.centre[1]) {
            for column in range(self.centre[0]) {
                let (mut first, mut second) = (0_u8, 0_u8);
                for sample in 0..SAMPLES * SAMPLES {
                    let offset = |index: usize| (index as f32 + 0.5) / SAMPLES as f32;
                    let dx = column as f32 + offset(sample % SAMPLES) - self.centre[0];
                    let dy = row as f32 + offset(sample / SAMPLES) - self.centre[1];
                    let (x, y) = (cos * dx + sin * dy, cos * dy - sin * dx);
                    if self.outline.holds(x / self.radius[0], y / self.radius[1]) {
                        let texture = |value: f32| value / self.period + self.phase;
                        if self.texture.is_first(texture(x), texture(y)) {
                            first += 1;
                        } else {
                            second += 1;
                        }
                    }
                }
                let part = |count: u8| f32::from(count) / (SAMPLES * SAMPLES) as f32;
                let (first, second) = (part(first), part(second));
                for (plane, values) in canvas.chunks_exact_mut(SIZE * SIZE).enumerate() {
                    let value = &mut values[row * SIZE + column];
                    *value = *value * (1.0 - first - second)
                        + self.colours[0][plane] * first
                        + self.colours[1][plane] * second;
                }
            }
        }
    }
}
