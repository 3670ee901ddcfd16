// Between ARGB pixels, as Android has them, and a network's numbers. No Android here.
package com.example.upscale

import kotlin.math.roundToInt

/** Writes red, green and blue of [argb] as float32 in [0, 1]. */
fun toFloats(argb: IntArray, rgb: FloatArray) {
    for (i in argb.indices) {
        rgb[3 * i] = (argb[i] shr 16 and 255) / 255f
        rgb[3 * i + 1] = (argb[i] shr 8 and 255) / 255f
        rgb[3 * i + 2] = (argb[i] and 255) / 255f
    }
}

/** Writes red, green and blue of [argb] as uint8, by [numbers]. */
fun toBytes(argb: IntArray, rgb: ByteArray, numbers: Numbers) {
    val table = ByteArray(256) {
        (it / 255f / numbers.scale + numbers.zeroPoint).roundToInt().coerceIn(0, 255).toByte()
    }
    for (i in argb.indices) {
        rgb[3 * i] = table[argb[i] shr 16 and 255]
        rgb[3 * i + 1] = table[argb[i] shr 8 and 255]
        rgb[3 * i + 2] = table[argb[i] and 255]
    }
}

/** Turns float32 around [0, 1] into opaque pixels. */
fun fromFloats(rgb: FloatArray, argb: IntArray) {
    for (i in argb.indices) argb[i] = opaque(pixel(rgb[3 * i]), pixel(rgb[3 * i + 1]), pixel(rgb[3 * i + 2]))
}

/** Turns uint8 into opaque pixels, by [numbers]. */
fun fromBytes(rgb: ByteArray, argb: IntArray, numbers: Numbers) {
    val table = IntArray(256) { pixel((it - numbers.zeroPoint) * numbers.scale) }
    for (i in argb.indices) {
        val k = 3 * i
        argb[i] = opaque(table[rgb[k].index()], table[rgb[k + 1].index()], table[rgb[k + 2].index()])
    }
}

// A NaN becomes black, as no comparison holds for it: roundToInt would throw.
private fun pixel(value: Float): Int = if (value > 0f) (minOf(value, 1f) * 255f).roundToInt() else 0

private fun Byte.index(): Int = toInt() and 255

private fun opaque(red: Int, green: Int, blue: Int): Int = 255 shl 24 or (red shl 16) or (green shl 8) or blue
