// Colour of one pixel in bytes, as Pillow has it (augment/colour.rs, augment/hue.rs). Single and double precision are
// mixed as there, for the same roundings.

struct pixel_t {
    unsigned char red, green, blue;
};

// ITU-R 601-2 luma in 16-bit fixed point, rounded.
__device__ inline unsigned char luma(pixel_t p) {
    return (unsigned char)((19595u * p.red + 38470u * p.green + 7471u * p.blue + 0x8000u) >> 16);
}

// From base through value (factor 1) and beyond; the fraction is cut off.
__device__ inline unsigned char blend(unsigned char base, unsigned char value, float factor) {
    float blended = (float)base + product(factor, (float)value - (float)base);
    return blended >= 255.0f ? 255 : blended > 0.0f ? (unsigned char)blended : 0;
}

__device__ inline pixel_t blend(pixel_t base, pixel_t p, float factor) {
    return {blend(base.red, p.red, factor), blend(base.green, p.green, factor), blend(base.blue, p.blue, factor)};
}

// How far a channel is below the largest, in parts of the range between largest and smallest.
__device__ inline float part_below(int most, int channel, int least) {
    return (float)(most - channel) / (float)(most - least);
}

__device__ inline unsigned char hue_byte(pixel_t p, int most, int least) {
    float red = part_below(most, p.red, least);
    float green = part_below(most, p.green, least);
    float blue = part_below(most, p.blue, least);
    // Place on the circle in sixths: red 0, green 2, blue 4.
    float sixths;
    if (p.red == most) {
        sixths = blue - green;
    } else if (p.green == most) {
        sixths = (float)(2.0 + (double)red - (double)blue);
    } else {
        sixths = (float)(4.0 + (double)green - (double)red);
    }
    double turned = (double)sixths / 6.0 + 1.0;
    float turn = (float)(turned >= 1.0 ? turned - 1.0 : turned);
    return (unsigned char)((double)turn * 255.0);
}

__device__ inline pixel_t from_hsv(unsigned char hue, unsigned char saturation_byte, unsigned char value) {
    double sixths = (double)hue * 6.0 / 255.0;
    double sector = floor(sixths);
    float part = (float)(sixths - sector);
    float saturation = (float)((double)saturation_byte / 255.0);
    double full = value, rest = 1.0 - (double)part;
    unsigned char low = (unsigned char)round(full * (1.0 - (double)saturation));
    unsigned char falling = (unsigned char)round(full * (1.0 - (double)product(saturation, part)));
    unsigned char rising = (unsigned char)round(full * (1.0 - product((double)saturation, rest)));
    switch ((int)sector % 6) {
    case 0: return {value, rising, low};
    case 1: return {falling, value, low};
    case 2: return {low, value, rising};
    case 3: return {low, falling, value};
    case 4: return {rising, low, value};
    default: return {value, low, falling};
    }
}

// Turns the hue by a part of the circle.
__device__ inline pixel_t turn_hue(pixel_t p, float turn) {
    int most = max(max((int)p.red, (int)p.green), (int)p.blue);
    int least = min(min((int)p.red, (int)p.green), (int)p.blue);
    if (most == least) return p;
    unsigned char shift = (unsigned char)(int)product((double)turn, 255.0);
    float saturation = (float)(most - least) / (float)most;
    unsigned char saturation_byte = (unsigned char)((double)saturation * 255.0);
    // A saturation below a byte's step is grey.
    if (saturation_byte == 0) return {(unsigned char)most, (unsigned char)most, (unsigned char)most};
    return from_hsv((unsigned char)(hue_byte(p, most, least) + shift), saturation_byte, (unsigned char)most);
}
