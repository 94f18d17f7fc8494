from exspy.signals import EELSSpectrum as EELSZLPSpectrum
